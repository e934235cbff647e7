"""A program that runs exported graphs on strange inputs. It knows NumPy and ONNX Runtime only, nothing of the package.

    python strange_inputs.py RUNS OUTPUT.npz GRAPH...

A graph is recognized by its inputs. For each one, the output holds the results of all runs, which the tests compare
with `score`. The inputs depend on the number of the run alone.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
LENGTHS = [0, 1, 399, 2_799, 2_800, 2_801, 5_359, 5_360, 9_000, 40_000, 161_519, 161_520, 200_000]
SIZES = [0, 1, 2, 7, 62]
BAD = [np.nan, np.inf, -np.inf, 1e31]


def levels_of(run: int) -> Array:
    """Return audiograms, [0 to 3, 8]. Some levels are not finite or out of range."""
    rng = np.random.default_rng([1, run])
    levels = rng.uniform(-10, 120, (int(rng.integers(0, 4)), 8)).astype(np.float32)
    if levels.size and rng.random() < 0.4:
        levels[rng.integers(len(levels)), rng.integers(8)] = rng.choice([np.nan, np.inf, -11, 121, 1e9])
    return levels


def waveform_of(run: int) -> Array:
    """Return a waveform [1, samples]: noise of any level, silence, or noise with a sample that is not finite."""
    rng = np.random.default_rng([2, run])
    length, kind = int(rng.choice(LENGTHS)), rng.integers(5)
    sound = rng.standard_normal((1, length)).astype(np.float32) * np.float32(10.0 ** rng.uniform(-9, 2))
    if kind == 0:
        sound[:] = 0
    if kind == 1 and length:
        sound[0, rng.integers(length)] = rng.choice(BAD)
    return sound


def values_of(run: int, shape: tuple[int, ...]) -> Array:
    """Return values for a graph that reads tokens or features. Some are not finite."""
    rng = np.random.default_rng([3, run])
    values = rng.standard_normal(shape).astype(np.float32)
    if values.size and rng.random() < 0.3:
        values.flat[rng.integers(values.size)] = rng.choice(BAD)
    return values


def sizes_of(run: int) -> int:
    """Return the number of patches or tokens."""
    return int(np.random.default_rng([4, run]).choice(SIZES))


def inputs_of(shapes: dict[str, list[Any]], run: int) -> dict[str, Array]:
    """Return the inputs of a graph in a run."""
    levels, size = levels_of(run), sizes_of(run)
    if "waveform" in shapes:
        return {"waveform": waveform_of(run), "audiogram": levels}
    if "tokens" in shapes:
        clips, _, width = shapes["tokens"]
        number = 1 if isinstance(clips, int) or run % 3 else len(levels)  # one for all audiograms, or one for each
        return {"tokens": values_of(run, (number, size, width)), "audiogram": levels}
    ((name, shape),) = shapes.items()
    return {name: values_of(run, (size, *shape[1:]))}


def main() -> None:
    """Run all graphs, and save their last but one outputs: scores, or tokens."""
    import onnxruntime

    assert not any(name.startswith(("haaqi", "torch", "onnx.")) for name in sys.modules)
    runs, output, *paths = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    results: dict[str, Array] = {}
    for place, path in enumerate(paths):
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        shapes = {value.name: value.shape for value in session.get_inputs()}
        names = [value.name for value in session.get_outputs()]
        for run in range(int(runs)):
            found = dict(zip(names, session.run(None, inputs_of(shapes, run)), strict=True))
            for name in set(names) - {"tokens"}:
                rows = found[name].reshape(len(found["score"]), -1)
                finite = np.isfinite(rows).all(axis=1), np.isnan(rows).all(axis=1)
                assert (finite[0] == np.isfinite(found["score"])).all(), (path, run, name)
                assert (finite[0] | finite[1]).all(), (path, run, name)
            results[f"{place}-{run}"] = found["score"] if "score" in found else found["tokens"]
    np.savez(output, **results)


if __name__ == "__main__":
    main()
