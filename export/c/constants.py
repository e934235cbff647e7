"""Nano as C constants: the sizes of a header, and the tables and weights of a source file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from ...calibration.quantizers import rounded
from ...model import nano as net
from ...model.nano import Nano
from ...runtime.audio.levels import LEVEL1, SILENCE
from ...runtime.audio.reading import LOUDEST
from ...runtime.audiogram import FREQUENCIES
from ...runtime.features import patches as fe
from ...runtime.features import texture as tx

Weights = Literal["float", "int8"]
Array = npt.NDArray[np.float32]

_ROW: Final = 12
"""numbers in a line"""


class Constant(NamedTuple):
    """A table, or the weights of a product: its C declaration and its numbers."""

    declaration: str
    values: npt.NDArray[np.generic]

    def text(self) -> str:
        """The definition."""
        return f"static const {self.declaration} = {_braced(self.values)};\n"


class Numbers:
    """All that differs from one nano to another, as C wants it.

    Args:
        nano: of any configuration.
        weights: `int8` rounds the matrices, a scale for each output, and what they are multiplied with to 16 bits.
        window: patches that a score covers.
    """

    def __init__(self, nano: Nano, weights: Weights, window: int) -> None:
        self._nano, self._weights, self._window = nano, weights, window
        self._constants: list[Constant] = []
        self._structures: list[str] = []
        self._tables()
        self._network()

    @property
    def constants(self) -> int:
        """Bytes of the numbers."""
        return sum(constant.values.nbytes for constant in self._constants)

    @property
    def ram(self) -> int:
        """Bytes of a stream; the compiler checks it."""
        c = self._nano.config
        encoder = tx.SPECTRUM + 2, tx.FRAME + 2 + tx.BANDS * tx.FRAMES, 2 * self._units
        head = c.conditioning + 3 * c.vector + 3 * tx.BANDS + 7 * c.hidden + 2 * self._window
        work = max(len(tx.PLANES) * tx.BANDS + max(encoder), head)
        rounded = self._inputs // 2 if self._weights == "int8" else 0
        tail = 0 if c.texture_version == 1 else fe.PATCH_LENGTH - fe.PATCH_SHIFT
        return 4 * (7 + fe.PATCH_LENGTH + tail + self._window * c.width + rounded + work)

    @property
    def _units(self) -> int:
        return max(self._nano.config.layers, default=1)

    @property
    def _inputs(self) -> int:
        """Of the widest product, whole words of two."""
        c = self._nano.config
        most = max(len(tx.PLANES) * tx.BANDS, *c.layers, c.vector, c.hidden, c.conditioning)
        return most + most % 2

    def sizes(self) -> str:
        """The macros of the header."""
        c = self._nano.config
        macros: dict[str, object] = {
            "RAM": f"{self.ram} /* bytes of a haaqi_nano */",
            "WINDOW": f"{self._window} /* patches that a score covers */",
            "SAMPLE_RATE": fe.SAMPLE_RATE,
            "PATCH_SHIFT": f"{fe.PATCH_SHIFT} /* samples from one patch to the next */",
            "PATCH_LENGTH": f"{fe.PATCH_LENGTH} /* samples that a patch reads */",
            "LEVELS": f"{len(FREQUENCIES)} /* of an audiogram */",
            "INT8": int(self._weights == "int8"),
            "TEXTURE": f"{c.texture_version} /* version of the front end */",
            "TREND": f"{len(tx.trend_basis().rows)} /* curves that version 2 removes from a patch */",
            "SEGMENT": tx.SEGMENT,
            "SEGMENTS": fe.PATCH_LENGTH // tx.SEGMENT,
            "SEGMENT_POWERS": tx.SEGMENT_POWERS,
            "PLANES": len(tx.PLANES),
            "BANDS": tx.BANDS,
            "SPECTRUM": tx.SPECTRUM,
            "FRAME": tx.FRAME,
            "HOP": tx.HOP,
            "FRAMES": tx.FRAMES,
            "SHORT_BINS": len(tx.bands().short),
            "RATES": len(tx.modulation_bins()),
            "RATE_BINS": tx.modulation_bins()[-1].stop - tx.modulation_bins()[0].start,
            "LAYERS": len(c.layers) + 1,
            "UNITS": self._units,
            "INPUTS": self._inputs,
            "VECTOR": c.vector,
            "TOKEN": c.width,
            "HIDDEN": c.hidden,
            "CONDITION": c.conditioning,
            "HEARD": len(net.HEARD),
            "FLOOR": _number(tx.FLOOR),
            "RELATIVE_FLOOR": _number(tx.RELATIVE_FLOOR),
            "MODULATION_FLOOR": _number(tx.MODULATION_FLOOR),
            "SILENCE": _number(SILENCE),
            "LOUDEST": _number(LOUDEST),
            "LEVEL1": _number(LEVEL1),
            "LEVEL_FACTOR": _number(10 / np.log(10) / net.LEVEL_UNIT),
            "LEVEL_UNIT": _number(net.LEVEL_UNIT),
            "LOSS_UNIT": _number(net.LOSS_UNIT),
            "NORM_EPSILON": _number(self._nano.encoder.norm.eps),
            "FRAME_BIAS": _number(self._nano.head.frame.bias.item()),
        }
        return "\n".join(f"#define HAAQI_{name} {value}" for name, value in macros.items())

    def definitions(self) -> str:
        """The tables and weights of the source file."""
        return "\n".join([*(constant.text() for constant in self._constants), *self._structures])

    def _add(self, declaration: str, values: npt.ArrayLike, kind: str = "float32") -> None:
        self._constants.append(Constant(declaration, np.ascontiguousarray(values, dtype=kind)))

    def _tables(self) -> None:
        """The front end's, computed in double precision where the runtime keeps none."""
        layout = tx.bands()
        angle = 2 * np.pi * np.arange(tx.SPECTRUM // 2) / tx.SPECTRUM
        self._add("float turns[HAAQI_SPECTRUM / 2][2]", np.stack([np.cos(angle), -np.sin(angle)], axis=1))
        self._add("float long_window[HAAQI_SPECTRUM / 2]", tx.hann(tx.SPECTRUM)[: tx.SPECTRUM // 2])
        self._add("float short_window[HAAQI_FRAME / 2]", tx.hann(tx.FRAME)[: tx.FRAME // 2])
        starts = layout.long.start + np.append(layout.long_starts, layout.long.stop - layout.long.start)
        self._add("uint16_t long_starts[HAAQI_BANDS + 1]", starts, "uint16")
        starts = np.append(layout.short_starts, len(layout.short))
        self._add("uint16_t short_starts[HAAQI_BANDS + 1]", starts, "uint16")
        self._add("uint8_t short_bins[HAAQI_SHORT_BINS]", layout.short, "uint8")
        self._add("float short_weights[HAAQI_SHORT_BINS]", layout.short_weights)
        kernel = tx.modulation_kernel().reshape(2, -1, tx.FRAMES)
        self._add("float rate_kernel[2][HAAQI_RATE_BINS][HAAQI_FRAMES]", kernel)
        rates = tx.modulation_bins()
        edges = np.array([rates[0].start, *(rate.stop for rate in rates)]) - rates[0].start
        self._add("uint8_t rate_starts[HAAQI_RATES + 1]", edges, "uint8")
        if self._nano.config.texture_version != 1:
            self._add("float polynomials[HAAQI_SEGMENT_POWERS][HAAQI_SEGMENT]", tx.trend_basis().polynomials.T)
            self._add("float trend[HAAQI_TREND][HAAQI_SEGMENTS * HAAQI_SEGMENT_POWERS]", tx.trend_basis().rows)

    def _network(self) -> None:
        encoder, head = self._nano.encoder, self._nano.head
        self._add("float texture_mean[HAAQI_PLANES * HAAQI_BANDS]", _array(encoder.mean).ravel())
        self._add("float texture_scale[HAAQI_PLANES * HAAQI_BANDS]", 1 / _array(encoder.scale).ravel())
        self._add("float level_offset[HAAQI_BANDS]", _array(encoder.to_level) / net.LEVEL_UNIT)
        self._add("float threshold_weights[HAAQI_HEARD][HAAQI_BANDS]", _array(head.thresholds))
        self._add("uint8_t heard[HAAQI_HEARD]", _array(head.heard), "uint8")
        for name, output in (("frame", head.frame), ("share", head.attention)):
            self._add(f"float {name}_weights[2][HAAQI_HIDDEN]", _array(output.weight).reshape(2, -1))

        linears = [one for one in encoder.layers if isinstance(one, nn.Linear)] + [encoder.linear]
        norms = [one for one in encoder.layers if isinstance(one, nn.LayerNorm)] + [encoder.norm]
        rows = []
        for index, (linear, norm) in enumerate(zip(linears, norms, strict=True)):
            name = f"layer_{index}"
            self._add(f"float {name}_gain[{len(norm.weight)}]", _array(norm.weight))
            self._add(f"float {name}_shift[{len(norm.bias)}]", _array(norm.bias))
            product = self._dense(name, _array(linear.weight), _array(linear.bias))
            rows.append(f"{{{product}, {name}_gain, {name}_shift}}")
        self._structure("layer encoder_layers[HAAQI_LAYERS]", rows)
        products = [one for one in head.conditioning if isinstance(one, nn.Linear)]
        conditioning = [
            self._dense(f"conditioning_{index}", _array(one.weight), _array(one.bias))
            for index, one in enumerate(products)
        ]
        self._structure("dense conditioning[2]", conditioning)
        audibility = self._dense("audibility", _array(head.audibility.weight), _array(head.audibility.bias))
        self._structures.append(f"static const dense audibility = {audibility};\n")
        self._structure("gru directions[2]", list(self._gru(head.gru)))

    def _gru(self, gru: nn.GRU) -> Iterator[str]:
        for name, suffix in (("forwards", "_l0"), ("backwards", "_l0_reverse")):
            products = [
                self._dense(
                    f"{name}_{kind}",
                    _array(gru.get_parameter(f"weight_{place}{suffix}")),
                    _array(gru.get_parameter(f"bias_{place}{suffix}")),
                )
                for kind, place in (("input", "ih"), ("state", "hh"))
            ]
            yield f"{{{products[0]},\n     {products[1]}}}"

    def _dense(self, name: str, weight: Array, bias: Array) -> str:
        """Add a product's numbers; gives the initialiser of its structure."""
        outputs, inputs = weight.shape
        parts = [f"{name}_weights"]
        if self._weights == "int8":
            whole, scale = rounded(weight)
            self._add(f"weight {name}_weights[{outputs * inputs}]", whole.ravel(), "int8")
            self._add(f"float {name}_scales[{outputs}]", scale.ravel())
            parts.append(f"{name}_scales")
        else:
            self._add(f"weight {name}_weights[{outputs * inputs}]", weight.ravel())
        self._add(f"float {name}_bias[{outputs}]", bias)
        return f"{{{', '.join([*parts, f'{name}_bias', str(outputs), str(inputs)])}}}"

    def _structure(self, declaration: str, rows: list[str]) -> None:
        self._structures.append(f"static const {declaration} = {{\n    " + ",\n    ".join(rows) + ",\n};\n")


def _array(tensor: Tensor) -> Array:
    values: Array = tensor.detach().cpu().numpy()
    return values


def _number(value: float) -> str:
    """A number of single precision as C writes it, exactly."""
    return f"{np.float32(value)!s}f"


def _braced(values: npt.NDArray[np.generic]) -> str:
    if values.ndim > 1:
        return "{\n" + ",\n".join(_braced(part) for part in values) + "}"
    words = [f"{value!s}f" for value in values] if values.dtype == np.float32 else [str(value) for value in values]
    lines = [", ".join(words[at : at + _ROW]) for at in range(0, len(words), _ROW)]
    return "{\n" + ",\n".join(lines) + "}"
