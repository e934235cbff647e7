"""Quantize an fp32 bundle to int8.

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
from ..runtime.bundle import Bundle, Card
from ..runtime.errors import BundleError, ExportError, GraphError, OptionError
from ..runtime.writing import with_files, write_files
from .calibration_data import SECONDS, ExcerptSet, Sets
from .candidate_scores import Material, materials, scores_of
from .finalization import ONNX
from .finalization import sealed as seal
from .layer_groups import Group, groups_of, names_in
from .quantizers import dynamic_graph, static_graph, store_int8
from .ranges import Exceeded, Ranges, Rule, collect, exceeded, kept
from .sensitivity import Build, Found, Search
from .speed import BEFORE, Speed, machine, speeds
from .targets import Method, Target, runs_natively

ROLES: Final = ("encoder", "head")
MICROSOFT: Final = "com.microsoft"
"""domain of ONNX Runtime's own operators, such as the quantized LSTM"""
WORTH: Final = 1.05
"""a dynamic candidate must be this many times as fast to be preferred to a static one, which can stream"""
JOURNAL: Final = "search.jsonl"
Progress = Callable[[str, int, int], None]
"""called with the current step, how much of it is done, and the total; the total is 0 if it is unknown"""


@dataclass(frozen=True)
class Settings:
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
    def methods(self) -> Sequence[Method]:
        """Methods to try.

        Raises:
            OptionError: the target does not support the method, or the method does not support `lstm`.
        """
        if self.lstm and self.method == "static":
            raise OptionError("LSTMs run in int8 with dynamic quantization only: choose that, or leave them out")
        if self.method is None:
            return self.target.methods
        if self.method not in self.target.methods:
            known = ", ".join(self.target.methods)
            raise OptionError(f"the target {self.target.name} takes {known} quantization only, not {self.method}")
        return (self.method,)


@dataclass(frozen=True)
class Candidate:
    """An int8 model in memory.

    Attributes:
        method, rule: how it was quantized.
        found: its quantized layer groups, and how they change scores.
        graphs: finalized graphs, by role.
        beyond: layers whose activations exceed their calibrated range.
        speed: None unless this machine is the target.
    """

    method: Method
    rule: Rule | None
    found: Found
    graphs: Mapping[str, bytes]
    beyond: tuple[Exceeded, ...] = ()
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
            **self.found.to_dict(),
            "beyond_calibration": [one._asdict() for one in self.beyond],
            "bytes": self.size,
            "speed": self.speed.to_dict() if self.speed else None,
        }


@dataclass(frozen=True)
class Quantized:
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


def quantize(bundle: Bundle, sets: Sets, settings: Settings, work: Path, progress: Progress | None = None) -> Quantized:
    """Quantize a bundle.

    Args:
        bundle: the fp32 bundle.
        sets: excerpts for calibration and for measuring the loss of accuracy.
        settings: options.
        work: folder that caches ranges and search results, so that they are computed only once.
        progress: called with the progress.

    Raises:
        BundleError: the bundle is already quantized, or contains no ONNX files.
        OptionError: the target does not support the method, or this ONNX Runtime cannot run the target's formats.
        ExportError: no layer group can be quantized within the budget.
    """
    check_quantizable(bundle)
    session = _Session(bundle, sets, settings, work, progress or (lambda *_: None))
    try:
        candidates = [session.candidate(method) for method in settings.methods]
    except GraphError as error:
        raise OptionError(
            f"this onnxruntime cannot run what the target {settings.target.name} ({settings.target.about}) asks for: "
            f"{error}; upgrade it (pip install -U onnxruntime), or choose another target"
        ) from error
    if runs_natively(settings.target):
        session.progress("measuring speed", 0, 0)
        measured = speeds({BEFORE: session.graphs, **{one.method: one.graphs for one in candidates}})
        candidates = [replace(one, speed=measured[one.method]) for one in candidates]
    candidates = ranked(candidates)
    chosen = candidates[0]
    fp32_bytes = sum(map(len, session.graphs.values()))
    card = replace(session.card(chosen.method), figures={"quantization": session.figures(candidates, fp32_bytes)})
    return Quantized(with_files(card, chosen.graphs), tuple(candidates), fp32_bytes, sets.warnings)


def check_quantizable(bundle: Bundle) -> None:
    """Raise BundleError unless a bundle is in fp32 and consists of ONNX files."""
    if bundle.card.precision != "fp32":
        raise BundleError(
            f"{bundle.folder} is {bundle.card.precision} already: give the fp32 bundle that it was made from"
        )
    if bundle.card.files["encoder"].format != "onnx":
        raise BundleError(f"{bundle.folder} holds no ONNX files: give the bundle that it was made from")


def ranked(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Sort candidates, the best first.

    A static candidate can stream. It comes first unless the network of a dynamic one is at least `WORTH` times as fast,
    judged by the limits of the 95% intervals. Without speeds, static candidates come first.
    """

    def place(one: Candidate) -> float:
        if one.speed is None:
            return float(one.method == "static")
        return WORTH * one.speed.ratio.high if one.method == "static" else one.speed.ratio.low

    return sorted(candidates, key=place, reverse=True)


class _Session:
    """State shared by the candidates of one bundle."""

    def __init__(self, bundle: Bundle, sets: Sets, settings: Settings, work: Path, progress: Progress) -> None:
        self.bundle, self.sets, self.settings, self.work, self.progress = bundle, sets, settings, work, progress
        self.graphs = {role: bundle.path(role).read_bytes() for role in ROLES}
        self.models = {role: onnx.load_from_string(graph) for role, graph in self.graphs.items()}
        self.every = [group for role in ROLES for group in groups_of(role, self.models[role])]
        self.groups = [group for group in self.every if settings.target.head or group.role == "encoder"]
        self.tried = list(self._heard(sets.accuracy, "preparing sounds"))
        self.before: npt.NDArray[np.float64] = scores_of(self.graphs, self.tried)
        self.source = [entry.sha256 for _, entry in sorted(bundle.card.files.items())]
        self.digests = {excerpts: excerpts.digest for excerpts in (sets.calibration, sets.accuracy)}

    def candidate(self, method: Method) -> Candidate:
        """Return the best candidate of a method within the budget."""
        rule, ranges = self._ranges() if method == "static" else (None, None)
        search = self._search(self._build(method, ranges), (method, rule))
        found = search.run(self.groups, self.settings.budget, rank=self.settings.rank)
        if not found.quantized:
            raise ExportError(
                f"no part of {self.bundle.card.name} can be quantized ({method}, {self.settings.target.about}) while "
                f"scores change by at most {self.settings.budget:g}: allow more, or use the fp32 bundle"
            )
        card, domains = self.card(method), (*ONNX, MICROSOFT) if self.settings.lstm else ONNX
        models = self._quantized(method, ranges, found.quantized)
        sealed = {role: seal(model, card.metadata(), domains) for role, model in models.items()}
        beyond: list[Exceeded] = []
        if ranges is not None:
            beyond = exceeded(ranges, self._met(), self.models, found.quantized)
        return Candidate(method, rule, found, sealed, tuple(beyond))

    def card(self, method: Method) -> Card:
        """Return the card of the int8 bundle, without files and metrics."""
        before = self.bundle.card
        made = f"haaqi-edge quantize {before.name} --target {self.settings.target.name} --method {method}"
        notes = {
            **before.notes,
            "quantization": f"{method} int8 for {self.settings.target.name}, of {before.name}",
            "again": f"{made} -o FOLDER",
        }
        return replace(
            before,
            name=f"{before.name}-int8",
            precision="int8",
            streamable=before.streamable and method == "static",
            files={},
            figures={},
            notes=notes,
        )

    def figures(self, candidates: Sequence[Candidate], fp32_bytes: int) -> dict[str, Any]:
        """Return the card's description of how the bundle was quantized and measured."""
        return {
            "target": self.settings.target.name,
            "formats": self.settings.target.about,
            "budget": self.settings.budget,
            "calibration": _told(self.sets.calibration),
            "accuracy": {**_told(self.sets.accuracy), "scores": len(self.before)},
            "fp32_bytes": fp32_bytes,
            "machine": machine(),
            "chosen": candidates[0].to_dict(),
            "others": [one.to_dict() for one in candidates[1:]],
        }

    def _ranges(self) -> tuple[Rule, Ranges]:
        """Return the rule under which quantizing all groups changes scores least, and its ranges."""
        rules: Sequence[Rule] = (self.settings.rule,) if self.settings.rule else ("minmax", "percentile")
        key = (self.source, self.digests[self.sets.calibration])
        found = kept(self.work, key, rules, self._collected)

        def harm(rule: Rule) -> float:
            search = self._search(self._build("static", found[rule]), ("static", rule))
            return search.change(self.groups)["p99"]

        best = min(rules, key=harm) if len(rules) > 1 else rules[0]
        return best, found[best]

    def _met(self) -> Ranges:
        """Return the extremes of activations on the excerpts for measuring the loss of accuracy."""
        self.progress("checking ranges", 0, 0)
        return collect(self.graphs, self.every, self.tried)["minmax"]

    def _collected(self, rules: Sequence[Rule]) -> Mapping[Rule, Ranges]:
        """Collect ranges on the calibration excerpts."""
        excerpts = self.sets.calibration
        heard = list(self._heard(excerpts, "preparing sounds"))
        passes = 2 if set(rules) - {"minmax"} else 1
        total = passes * len(excerpts)
        return collect(self.graphs, self.every, heard, rules, lambda n: self.progress("calibrating", n, total))

    def _heard(self, excerpts: ExcerptSet, what: str) -> Iterator[Material]:
        for place, material in enumerate(materials(excerpts, self.bundle.card.reading), start=1):
            yield material
            self.progress(what, place, len(excerpts))

    def _search(self, build: Build, how: object) -> Search:
        key = (self.source, list(self.digests.values()), self.settings.target, self.settings.lstm, how)
        what = f"measuring groups ({how[0]})" if isinstance(how, tuple) else "measuring groups"
        return Search(
            build, self.tried, self.before, self.work / JOURNAL, key, lambda n, total: self.progress(what, n, total)
        )

    def _build(self, method: Method, ranges: Ranges | None) -> Build:
        return lambda groups: {
            role: model.SerializeToString() for role, model in self._quantized(method, ranges, groups).items()
        }

    def _quantized(self, method: Method, ranges: Ranges | None, groups: Sequence[Group]) -> dict[str, onnx.ModelProto]:
        """Return the graphs with these layer groups in int8, by role."""
        made = {}
        for role, model in self.models.items():
            products, recurrent = names_in(groups, role, "product"), names_in(groups, role, "recurrent")
            run = [name for name in recurrent if self.settings.lstm and method == "dynamic" and "LSTM" in name]
            if ranges is not None:
                model = static_graph(model, products, ranges[role], self.settings.target)
            else:
                model = dynamic_graph(model, products, self.settings.target, run)
            made[role] = store_int8(model, [name for name in recurrent if name not in run])
        return made


def _told(excerpts: ExcerptSet) -> dict[str, Any]:
    """Describe a set of excerpts for the card: source, number of excerpts, seconds of distinct music."""
    return {
        "source": excerpts.source,
        "excerpts": len(excerpts),
        "seconds_of_music": SECONDS * len(set(excerpts.places)),
    }
