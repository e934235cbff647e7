"""Quantization of an fp32 bundle to int8.

Candidates are calibrated, reduced until they meet an accuracy budget, and measured. The best one is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from ..evaluation.comparison import BUDGET
from ..runtime.bundle import ROLES, Bundle, Card
from ..runtime.errors import BundleError, ExportError, GraphError, OptionError
from ..runtime.writing import with_files, write_files
from .calibration_data import EXCERPT_SECONDS, CalibrationData, ExcerptSet, ModelInputs, prepare_inputs
from .finalization import ONNX_DOMAINS, finalize_model
from .layer_groups import LayerGroup, find_layer_groups, node_names
from .measurement import BASELINE, Speed, TokenCache, describe_machine, measure_speeds, score_graphs
from .quantizers import quantize_dynamic_graph, quantize_static_graph, store_weights_int8
from .ranges import RangeExcess, Ranges, Rule, collect_ranges, find_range_excess, load_or_collect_ranges
from .sensitivity import BuildGraphs, SearchResult, SensitivitySearch
from .targets import Method, Target, runs_natively

ONNX_RUNTIME_DOMAIN: Final = "com.microsoft"
"""domain of ONNX Runtime's own operators, such as the quantized LSTM"""
MIN_SPEEDUP: Final = 1.05
"""a dynamic candidate must be this many times as fast to be preferred to a static one, which can stream"""
JOURNAL: Final = "search.jsonl"
_ACCURACY_SOUNDS: Final = "preparing sounds to measure the accuracy"
_FP32_SCORES: Final = "scoring in fp32"
_CALIBRATION_SOUNDS: Final = "preparing sounds for calibration"
_CALIBRATING: Final = "calibrating"
_CHOOSING_RANGES: Final = "choosing ranges"
_MEASURING: Final = "measuring layers"
_CHECKING_RANGES: Final = "checking ranges"
_SPEED: Final = "measuring speed"
Progress = Callable[[str, int, int], None]
"""called with the current step, how much of it is done, and the total; the total is 0 if it is unknown"""


@dataclass(frozen=True)
class QuantizationSettings:
    """Options of a quantization.

    Attributes:
        target: the device, which determines the number formats (see `targets`).
        method: `static` or `dynamic`; None tries all methods of the target and chooses the best.
        rule: how ranges are derived from activations (static only); None chooses the better of `minmax` and
            `percentile`.
        budget: limit for the change of a score, at the 99th percentile.
        lstm: run LSTMs in int8 too (dynamic only). Otherwise only their weights are stored in int8.
        rank: measure the sensitivity of each layer group even if all groups together stay within the budget.
    """

    target: Target
    method: Method | None = None
    rule: Rule | None = None
    budget: float = BUDGET
    lstm: bool = False
    rank: bool = False

    @property
    def steps(self) -> list[str]:
        """Names of the steps of a quantization, in order. A step whose results are stored already is left out."""
        steps = [_ACCURACY_SOUNDS, _FP32_SCORES]
        for method in self.methods:
            if method == "static":
                steps += [_CALIBRATION_SOUNDS, _CALIBRATING, *([] if self.rule else [_CHOOSING_RANGES])]
            steps.append(f"{_MEASURING} ({method})")
            if method == "static":
                steps.append(_CHECKING_RANGES)
        return [*steps, _SPEED] if runs_natively(self.target) else steps

    @property
    def methods(self) -> Sequence[Method]:
        """Methods to try.

        Raises:
            OptionError: the target does not support the method, or the method does not support `lstm`.
        """
        if self.lstm and self.method == "static":
            raise OptionError("LSTMs run in int8 with dynamic quantization only: choose that, or leave them in fp32")
        if self.method is None:
            return self.target.methods
        if self.method not in self.target.methods:
            supported = ", ".join(self.target.methods)
            raise OptionError(
                f"the target {self.target.name} supports {supported} quantization only, not {self.method}: choose "
                "another method or target"
            )
        return (self.method,)


@dataclass(frozen=True)
class Candidate:
    """An int8 model in memory.

    Attributes:
        method, rule: how it was quantized.
        search: its quantized layer groups, and how they change scores.
        graphs: finalized graphs, by role.
        range_excesses: layer groups whose activations exceed their calibrated range.
        speed: None unless this machine is the target.
    """

    method: Method
    rule: Rule | None
    search: SearchResult
    graphs: Mapping[str, bytes]
    range_excesses: tuple[RangeExcess, ...] = ()
    speed: Speed | None = None

    @property
    def size(self) -> int:
        """Size of the graphs in bytes."""
        return sum(map(len, self.graphs.values()))

    def to_dict(self) -> dict[str, Any]:
        """Return the candidate as plain values, for a card."""
        return {
            "method": self.method,
            "ranges": self.rule,
            **self.search.to_dict(),
            "beyond_calibration": [one._asdict() for one in self.range_excesses],
            "bytes": self.size,
            "speed": self.speed.to_dict() if self.speed else None,
        }


@dataclass(frozen=True)
class QuantizationResult:
    """Result of a quantization.

    Attributes:
        card: card of the int8 bundle.
        candidates: all candidates, the chosen one first.
        fp32_bytes: size of the fp32 graphs.
        warnings: about the calibration data.
    """

    card: Card
    candidates: tuple[Candidate, ...]
    fp32_bytes: int
    warnings: tuple[str, ...]

    @property
    def chosen(self) -> Candidate:
        """The candidate that `write` saves."""
        return self.candidates[0]

    def write(self, folder: Path) -> None:
        """Write the bundle to a folder, see `runtime.writing`."""
        write_files(self.card, self.chosen.graphs, folder)


def quantize(
    bundle: Bundle,
    data: CalibrationData,
    settings: QuantizationSettings,
    work: Path,
    progress: Progress | None = None,
) -> QuantizationResult:
    """Quantize a bundle.

    Args:
        bundle: the fp32 bundle.
        data: excerpts for calibration and for measuring the loss of accuracy.
        settings: options.
        work: folder that caches ranges and search results, so that they are computed only once.
        progress: called with the progress.

    Raises:
        BundleError: the bundle is already quantized, or contains no ONNX files.
        OptionError: the target does not support the method, or this ONNX Runtime cannot run the target's formats.
        ExportError: no layer group can be quantized within the budget.
    """
    check_quantizable(bundle)
    quantization = _Quantization(bundle, data, settings, work, progress or (lambda *_: None))
    try:
        candidates = [quantization.create_candidate(method) for method in settings.methods]
    except GraphError as error:
        raise OptionError(
            f"this onnxruntime cannot run the number formats of the target {settings.target.name} "
            f"({settings.target.formats}): {error}; upgrade it (pip install -U onnxruntime), or choose another target"
        ) from error
    if runs_natively(settings.target):
        quantization.progress(_SPEED, 0, 0)
        speeds = measure_speeds({BASELINE: quantization.graphs, **{one.method: one.graphs for one in candidates}})
        candidates = [replace(one, speed=speeds[one.method]) for one in candidates]
    candidates = rank_candidates(candidates)
    chosen = candidates[0]
    fp32_bytes = sum(map(len, quantization.graphs.values()))
    results = {"quantization": quantization.results(candidates, fp32_bytes)}
    card = replace(quantization.create_card(chosen.method), figures=results)
    card = with_files(card, chosen.graphs, chosen.search.precisions)
    return QuantizationResult(card, tuple(candidates), fp32_bytes, data.warnings)


def check_quantizable(bundle: Bundle) -> None:
    """Raise BundleError unless a bundle is in fp32 and consists of ONNX files."""
    if bundle.card.precision != "fp32":
        raise BundleError(
            f"{bundle.folder} is {bundle.card.precision} already: give the fp32 bundle that it was made from"
        )
    if bundle.card.files["encoder"].format != "onnx":
        raise BundleError(f"{bundle.folder} contains no ONNX files: give the bundle that it was made from")


def rank_candidates(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Sort candidates, the best first.

    A static candidate can stream. It comes first unless the network of a dynamic one is at least `MIN_SPEEDUP` times as
    fast, judged by the bounds of the 95% intervals. Without speeds, static candidates come first.
    """

    def value(one: Candidate) -> float:
        if one.speed is None:
            return float(one.method == "static")
        return MIN_SPEEDUP * one.speed.ratio.high if one.method == "static" else one.speed.ratio.low

    return sorted(candidates, key=value, reverse=True)


def describe_candidate(candidate: Candidate, fp32_bytes: int, target: Target) -> str:
    """Describe a candidate in a line that states only measured results: speed, size, change of scores.

    Args:
        candidate: the int8 model.
        fp32_bytes: size of the fp32 graphs.
        target: the device that the candidate is for.
    """
    change = candidate.search.change
    return (
        f"{candidate.method} int8: {_describe_speed(candidate.speed, target)}, "
        f"{fp32_bytes / candidate.size:.1f} times smaller ({candidate.size / 1e6:.2f} MB), "
        f"99% of scores move by at most {change['p99']:.2g}, none by more than {change['largest']:.2g}"
    )


def list_notes(result: QuantizationResult) -> list[str]:
    """List notes on the chosen candidate for the user, one line each."""
    chosen, notes = result.chosen, []
    if chosen.speed is not None and not chosen.speed.faster:
        notes.append(f"{chosen.method} int8 saves memory here, but no time: if speed matters, use the fp32 bundle")
    elif chosen.speed is not None and chosen.speed.whole_ratio.low <= 1:
        notes.append(
            f"the network is faster, but scoring is not: of {1e3 * chosen.speed.whole.median:.1f} ms for 10 s of audio "
            f"the network takes {1e3 * chosen.speed.network.median:.1f}, the front end the rest"
        )
    if not result.card.streamable:
        notes.append("it can't stream: the scales of a dynamic encoder depend on its batch (use --method static)")
    notes += [
        f"{one.group} has values {100 * one.by:.0f}% beyond its calibrated range and clips them, "
        "which the measured change includes"
        for one in chosen.range_excesses
    ]
    return [*notes, *result.warnings]


def _describe_speed(speed: Speed | None, target: Target) -> str:
    if speed is None:
        return f"speed not measured (this machine is not the target, {target.name})"
    ratio = speed.ratio
    interval = f"95%: {ratio.low:.2f} to {ratio.high:.2f}"
    if speed.faster:
        return f"{ratio.median:.2f} times faster than fp32 ({interval})"
    relation = "slower than" if speed.slower else "not faster than"
    return f"{relation} fp32 ({ratio.median:.2f} times its speed, {interval})"


class _Quantization:
    """State shared by the candidates of one bundle."""

    def __init__(
        self, bundle: Bundle, data: CalibrationData, settings: QuantizationSettings, work: Path, progress: Progress
    ) -> None:
        self.bundle, self.data, self.settings, self.work, self.progress = bundle, data, settings, work, progress
        self.graphs = {role: bundle.path(role).read_bytes() for role in ROLES}
        self.models = {role: onnx.load_from_string(graph) for role, graph in self.graphs.items()}
        self.all_groups = [group for role in ROLES for group in find_layer_groups(role, self.models[role])]
        self.groups = [group for group in self.all_groups if settings.target.head or group.role == "encoder"]
        self.accuracy_inputs = list(self._prepare(data.accuracy, _ACCURACY_SOUNDS))
        self.tokens = TokenCache()
        self.fp32_scores: npt.NDArray[np.float64] = score_graphs(
            self.graphs, self.accuracy_inputs, self.tokens, lambda done: self._report(_FP32_SCORES, done)
        )
        self.source = [entry.sha256 for _, entry in sorted(bundle.card.files.items())]
        self.digests = {excerpts: excerpts.digest for excerpts in (data.calibration, data.accuracy)}

    def create_candidate(self, method: Method) -> Candidate:
        """Return the best candidate of a method within the budget."""
        rule, ranges = self._choose_ranges() if method == "static" else (None, None)
        search = self._create_search(method, rule, ranges, f"{_MEASURING} ({method})")
        result = search.run(self.groups, self.settings.budget, rank=self.settings.rank)
        if not result.int8_groups:
            raise ExportError(
                f"no part of {self.bundle.card.name} can be quantized ({method}, {self.settings.target.formats}) while "
                f"scores change by at most {self.settings.budget:g}: allow more, or use the fp32 bundle"
            )
        precisions = result.precisions
        metadata = self.create_card(method).metadata()
        domains = (*ONNX_DOMAINS, ONNX_RUNTIME_DOMAIN) if self.settings.lstm else ONNX_DOMAINS
        models = self._quantize_models(method, ranges, result.int8_groups)
        graphs = {
            role: finalize_model(model, metadata | {"precision": precisions[role]}, domains)
            for role, model in models.items()
        }
        excesses: list[RangeExcess] = []
        if ranges is not None:
            excesses = find_range_excess(ranges, self._collect_extremes(), self.models, result.int8_groups)
        return Candidate(method, rule, result, graphs, tuple(excesses))

    def create_card(self, method: Method) -> Card:
        """Return the card of the int8 bundle, without files and metrics."""
        fp32 = self.bundle.card
        command = f"haaqi-edge quantize {fp32.name} --target {self.settings.target.name} --method {method}"
        notes = {
            **fp32.notes,
            "quantization": f"{method} int8 for {self.settings.target.name}, of {fp32.name}",
            "again": f"{command} -o FOLDER",
        }
        return replace(
            fp32,
            name=f"{fp32.name}-int8",
            precision="int8",
            streamable=fp32.streamable and method == "static",
            files={},
            figures={},
            notes=notes,
        )

    def results(self, candidates: Sequence[Candidate], fp32_bytes: int) -> dict[str, Any]:
        """Return the card's description of how the bundle was quantized and measured."""
        return {
            "target": self.settings.target.name,
            "formats": self.settings.target.formats,
            "budget": self.settings.budget,
            "calibration": _describe(self.data.calibration),
            "accuracy": {**_describe(self.data.accuracy), "scores": len(self.fp32_scores)},
            "fp32_bytes": fp32_bytes,
            "machine": describe_machine(),
            "chosen": candidates[0].to_dict(),
            "others": [one.to_dict() for one in candidates[1:]],
        }

    def _choose_ranges(self) -> tuple[Rule, Ranges]:
        """Return the rule under which quantizing all groups changes scores least, and its ranges."""
        rules: Sequence[Rule] = (self.settings.rule,) if self.settings.rule else ("minmax", "percentile")
        key = (self.source, self.digests[self.data.calibration])
        ranges = load_or_collect_ranges(self.work, key, rules, self._collect_ranges)

        def change(rule: Rule) -> float:
            search = self._create_search("static", rule, ranges[rule], _CHOOSING_RANGES)
            search.sets, search.measured = len(rules), rules.index(rule)
            return search.measure_change(self.groups)["p99"]

        best = min(rules, key=change) if len(rules) > 1 else rules[0]
        return best, ranges[best]

    def _collect_extremes(self) -> Ranges:
        """Return the extremes of activations on the excerpts for measuring the loss of accuracy."""
        self.progress(_CHECKING_RANGES, 0, 0)
        return collect_ranges(self.graphs, self.all_groups, self.accuracy_inputs)["minmax"]

    def _collect_ranges(self, rules: Sequence[Rule]) -> Mapping[Rule, Ranges]:
        """Collect ranges on the calibration excerpts."""
        inputs = list(self._prepare(self.data.calibration, _CALIBRATION_SOUNDS))
        passes = 2 if set(rules) - {"minmax"} else 1
        total = passes * len(inputs)
        return collect_ranges(
            self.graphs, self.all_groups, inputs, rules, lambda done: self.progress(_CALIBRATING, done, total)
        )

    def _prepare(self, excerpts: ExcerptSet, step: str) -> Iterator[ModelInputs]:
        self.progress(step, 0, len(excerpts))
        for done, inputs in enumerate(prepare_inputs(excerpts, self.bundle.card.front_end_name), start=1):
            yield inputs
            self.progress(step, done, len(excerpts))

    def _report(self, step: str, done: int) -> None:
        self.progress(step, done, len(self.accuracy_inputs))

    def _create_search(self, method: Method, rule: Rule | None, ranges: Ranges | None, step: str) -> SensitivitySearch:
        settings = self.settings
        key = (self.source, list(self.digests.values()), settings.target, settings.lstm, (method, rule))
        return SensitivitySearch(
            self._builder(method, ranges),
            self.accuracy_inputs,
            self.fp32_scores,
            self.work / JOURNAL,
            key,
            self.tokens,
            lambda done, total: self.progress(step, done, total),
        )

    def _builder(self, method: Method, ranges: Ranges | None) -> BuildGraphs:
        return lambda groups: {
            role: model.SerializeToString() for role, model in self._quantize_models(method, ranges, groups).items()
        }

    def _quantize_models(
        self, method: Method, ranges: Ranges | None, groups: Sequence[LayerGroup]
    ) -> dict[str, onnx.ModelProto]:
        """Return the graphs with these layer groups in int8, by role."""
        quantized = {}
        for role, model in self.models.items():
            products, recurrent = node_names(groups, role, "product"), node_names(groups, role, "recurrent")
            lstms = [name for name in recurrent if self.settings.lstm and method == "dynamic" and "LSTM" in name]
            if ranges is not None:
                model = quantize_static_graph(model, products, ranges[role], self.settings.target)
            else:
                model = quantize_dynamic_graph(model, products, self.settings.target, lstms)
            quantized[role] = store_weights_int8(model, [name for name in recurrent if name not in lstms])
        return quantized


def _describe(excerpts: ExcerptSet) -> dict[str, Any]:
    """Describe a set of excerpts for the card: source, number of excerpts, seconds of distinct music."""
    return {
        "source": excerpts.origin,
        "excerpts": len(excerpts),
        "seconds_of_music": EXCERPT_SECONDS * len(set(excerpts.segments)),
    }
