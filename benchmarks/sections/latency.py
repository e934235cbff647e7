"""Latency section: time from samples in memory to the score, and of the networks alone.

All implementations are timed side by side in interleaved runs.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure as Picture
from threadpoolctl import threadpool_limits

from ...evaluation.timing import taken
from ...runtime import Bundle, Scorer
from ...runtime.errors import ProviderError
from ..context import Workbench
from ..report.plots import axes, band, bars, colour
from ..report.published import LESS_TIME
from ..report.schema import Figure, Section
from ..report.section_builder import Sheet
from .implementations import PYCLARITY, Work, bundles, contenders_of, named, whole, windows
from .roofline import product_rates, rate, work

TITLE: Final = "Latency"
LENGTHS: Final = (1.0, 3.0, 10.0, 30.0, 60.0)
HEADLINE: Final = 10.0
"""seconds of audio in the headline results"""
RUNS: Final = 31
BUDGET: Final = 8.0
"""seconds that an implementation may take per cell; a slower one gets fewer runs"""
SLOW: Final = 3
"""minimum number of runs, also for the slowest implementations"""
SHORT: Final = 0.1
"""an implementation that takes fewer seconds than this also runs untimed before each timed run"""
_FEW: Final = 20
"""minimum number of runs for which the 95th percentile is reported"""
LINEAR: Final = 0.1
"""largest relative deviation from a straight line at which cost is called linear"""
Seconds = dict[str, list[float]]


class Plan(NamedTuple):
    """Extent of the measurement.

    Attributes:
        lengths, others: seconds of audio, for the first number of threads and for the others.
        runs: number of runs of each implementation in a cell.
        budget: seconds that these runs may take together; a slower implementation gets fewer runs.
        slow: minimum number of runs.
        longest_oracle: seconds of the longest clip for pyclarity.
    """

    lengths: tuple[float, ...]
    others: tuple[float, ...]
    runs: int
    budget: float
    slow: int
    longest_oracle: float

    @classmethod
    def of(cls, quick: bool) -> Plan:
        """Return the plan of a full run, or of a quick run, which takes a minute."""
        return (
            cls((1.0, 3.0, HEADLINE), (3.0,), 7, 0.5, 2, 1.0)
            if quick
            else cls(LENGTHS, LENGTHS, RUNS, BUDGET, SLOW, 60.0)
        )

    def cells(self, threads: tuple[int, ...]) -> list[tuple[float, int]]:
        """List the cells: pairs of duration and number of threads."""
        return [(s, count) for count in threads for s in (self.lengths if count == threads[0] else self.others)]


def measure(bench: Workbench) -> Section:
    """Time all implementations, cell by cell; a cell is a duration and a number of threads."""
    logging.getLogger("clarity").setLevel(logging.ERROR)
    sheet, plan = Sheet("latency", TITLE), Plan.of(bench.options.quick)
    models = bundles(bench)
    cells: dict[tuple[float, int], Seconds] = {}
    places = plan.cells(bench.options.threads)
    for number, (seconds, threads) in enumerate(places):
        bench.told(f"latency: {seconds:g} s, {_threads(threads)}", number, len(places))
        settings = (plan, bench.options.seed, bench.options.music, bench.provided, sorted(models))
        cells[seconds, threads] = bench.store.cell(
            f"latency/{seconds:g} s, {threads}",
            settings,
            lambda at=(seconds, threads): _cell(bench, plan, models, *at),  # type: ignore[misc]
        )
    for (seconds, threads), cell in cells.items():
        for name, runs in cell.items():
            what, _, part = name.partition("/")
            sheet.timing(
                f"{name}/{seconds:g}s/{threads}t", f"{named(what)}, {part}, {seconds:g} s, {threads} thr.", runs
            )
    _ratios(sheet, cells)
    _tables(sheet, cells, plan, bench.options.threads)
    _lengths(sheet, cells, bench.options.threads[0])
    _limits(bench, sheet, models, plan)
    _accelerators(bench, sheet, plan)
    longest = plan.longest_oracle
    if not find_spec("clarity"):
        sheet.lacks("pyclarity's HAAQI", "it is not installed: pip install --no-deps pyclarity")
    elif longest < max(plan.lengths):
        sheet.lacks(f"pyclarity's HAAQI of clips longer than {longest:g} s", "a quick run has no time for it")
    if bench.options.quick:
        sheet.lacks("clips of 30 and 60 s, and all but 3 s with two threads", "a quick run has no time for them")
    _promise(sheet)
    _ceiling(sheet)
    return sheet.section()


def _cell(bench: Workbench, plan: Plan, models: dict[str, Bundle], seconds: float, threads: int) -> Seconds:
    """Return the seconds of each run, by implementation."""
    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        contenders = dict(contenders_of(bench, models, bench.clip(seconds), threads))
        if seconds > plan.longest_oracle:
            contenders.pop(f"{PYCLARITY}/whole", None)
        if seconds > HEADLINE:
            contenders.pop("fbank per frame/front end")
        return taken(contenders, plan.runs, plan.budget, plan.slow, SHORT)


def _ratios(sheet: Sheet, cells: dict[tuple[float, int], Seconds]) -> None:
    """Add how many times faster than the teacher and pyclarity each implementation is, if both were timed."""
    for (seconds, threads), cell in cells.items():
        for rival in ("teacher", PYCLARITY):
            for name, runs in cell.items():
                what, _, part = name.partition("/")
                if part == "whole" and what != rival and f"{rival}/whole" in cell:
                    key = f"{what}/times/{rival}/{seconds:g}s/{threads}t"
                    told = f"{named(what)}: times faster than {named(rival)}, {seconds:g} s, {threads} thr."
                    sheet.times_faster(key, told, cell[f"{rival}/whole"], runs)


def _tables(sheet: Sheet, cells: dict[tuple[float, int], Seconds], plan: Plan, threads: tuple[int, ...]) -> None:
    for count in threads:
        lengths = sorted(s for s, t in cells if t == count)
        names = list(dict.fromkeys(name for (_, t), cell in cells.items() if t == count for name in cell))
        for part, title in (
            ("whole", "From samples in memory to the score"),
            ("network", "Network alone"),
            ("front end", "Front end alone"),
        ):
            rows = [
                [named(name.partition("/")[0])]
                + [milliseconds(sheet.figures.get(f"latency/{name}/{s:g}s/{count}t")) for s in lengths]
                for name in names
                if name.endswith(f"/{part}")
            ]
            sheet.table(
                f"{title}, {_threads(count)}",
                ["ms", *(f"{s:g} s" for s in lengths)],
                rows,
                f"Median (95% interval of the median; 95th percentile of {_FEW} runs or more, else how many). "
                f"What takes less than {1e3 * SHORT:g} ms runs untimed before each run, as for someone who scores clip "
                "after clip; what the first score of a process takes is told under cold start.",
            )
    at = HEADLINE if HEADLINE in plan.lengths else plan.lengths[-1]
    told = []
    for name in cells[at, threads[0]]:
        what, _, part = name.partition("/")
        if part == "whole":
            times = [
                interval(sheet.figures.get(f"latency/{what}/times/{rival}/{s:g}s/{threads[0]}t"))
                for rival, s in (("teacher", at), (PYCLARITY, min(at, plan.longest_oracle)))
            ]
            told.append([named(what), milliseconds(sheet.figures[f"latency/{name}/{at:g}s/{threads[0]}t"]), *times])
    of = "" if plan.longest_oracle >= at else f" ({plan.longest_oracle:g} s of audio)"
    sheet.table(
        f"Headline: {at:g} s of audio, samples to score, {_threads(threads[0])}",
        ["", "ms", "times faster than the teacher", f"times faster than pyclarity's HAAQI{of}"],
        told,
        "Ratios are medians of ratios of interleaved runs, with 95% bootstrap intervals.",
    )
    sheet.tables.insert(0, sheet.tables.pop())


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def milliseconds(figure: Figure | None) -> str:
    """Format a time with its spread."""
    if figure is None or figure.value is None:
        return "–"
    spread = "" if figure.low is None else f"{short(figure.low)} to {short(figure.high)}; "
    runs = figure.count or 0
    tail = f"p95 {short(figure.p95)}" if runs >= _FEW else f"{runs} run{'s' if runs > 1 else ''}"
    return f"{short(figure.value)} ({spread}{tail})"


def interval(figure: Figure | None) -> str:
    """Format a ratio with its interval."""
    if figure is None or figure.value is None:
        return "–"
    return f"{short(figure.value)}" + ("" if figure.low is None else f" ({short(figure.low)} to {short(figure.high)})")


def short(value: float | None) -> str:
    """Format a number with three digits and thousands separators."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _lengths(sheet: Sheet, cells: dict[tuple[float, int], Seconds], threads: int) -> None:
    """Add how cost grows with duration.

    A straight line is fitted to the medians. The largest deviation from it shows whether cost is proportional to
    duration.
    """
    lengths = sorted({seconds for seconds, t in cells if t == threads})
    rows = []
    for name in cells[lengths[-1], threads] | cells[lengths[0], threads]:
        if not name.endswith("/whole"):
            continue
        known = [s for s in lengths if name in cells[s, threads]]
        if len(known) < 3:
            continue
        medians = np.array([np.median(cells[s, threads][name]) for s in known])
        slope, start, off = straight(np.array(known), medians)
        what = name.partition("/")[0]
        sheet.estimate(
            f"{what}/per second of audio/{threads}t", f"{named(what)}: ms for each second", 1e3 * slope, "ms", "lower"
        )
        sheet.estimate(f"{what}/off the line/{threads}t", f"{named(what)}: largest share off a straight line", off)
        verdict = "linear" if off <= LINEAR else "not linear"
        rows.append([named(what), short(1e3 * slope), short(1e3 * start), f"{100 * off:.0f}%", verdict])
    sheet.table(
        "Cost against length",
        ["", "ms for each second of audio", "ms besides", "furthest off the line", ""],
        rows,
        f"A line through the medians that weighs relative errors; up to {LINEAR:.0%} off is called linear.",
    )


def straight(lengths: npt.NDArray[np.float64], seconds: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Fit the straight line with the smallest relative errors.

    Args:
        lengths: float64 [n], seconds of audio.
        seconds: float64 [n], seconds that they take.

    Returns:
        slope, intercept, and the largest relative error.
    """
    basis = np.stack([lengths, np.ones_like(lengths)], axis=1)
    (slope, start), *_ = np.linalg.lstsq(basis / seconds[:, None], np.ones_like(seconds), rcond=None)
    return float(slope), float(start), float(np.abs(basis @ [slope, start] / seconds - 1).max())


def _limits(bench: Workbench, sheet: Sheet, models: dict[str, Bundle], plan: Plan) -> None:
    threads = bench.options.threads[0]
    at = max(s for s in plan.lengths if s <= HEADLINE)
    bench.told("latency: the machine's rate", 0, 0)
    runs = bench.store.cell("latency/rates", (plan, threads), lambda: product_rates(plan.runs, threads))
    rates = {}
    for name, seconds in runs.items():
        found = sheet.sampled(
            f"rate/{name}",
            f"rate of one large product, {name}, {threads} thr.",
            [rate(one) for one in seconds],
            of="runs in turn",
            unit="billion operations/s",
            better="higher",
        )
        assert found.value is not None
        rates[name] = found.value
    rows = []
    samples = bench.clip(at)
    counted = {"folded": "int8", "nano": "nano-int8"}  # int8 needs the same operations as its fp32 graph
    for fp32, int8 in counted.items():
        needed = work(models[fp32], windows(samples, models[fp32].card.window))
        for name in (fp32, int8):
            precision = models[name].card.precision
            figure = sheet.figures[f"latency/{name}/network/{at:g}s/{threads}t"]
            least = 1e3 * needed.seconds(rates, precision)
            assert figure.value is not None
            share = 100 * least / figure.value
            sheet.estimate(f"{name}/limit", f"{named(name)}: least time at the product's rate, {at:g} s", least, "ms")
            sheet.estimate(
                f"{name}/share of the limit", f"{named(name)}: share of that rate reached", share, "%", "higher"
            )
            total = needed.constant + needed.rest
            rows.append([named(name), f"{total:.3g}", short(least), milliseconds(figure), f"{share:.0f}%"])
    sheet.table(
        f"How close to the limit: the network on {at:g} s, {_threads(threads)}",
        ["", "billion operations", "least ms", "measured ms", "of the limit"],
        rows,
        f"One large product ran at {rates['fp32']:.0f} billion operations a second in fp32 and at "
        f"{rates['int8']:.0f} in int8 in this run. Operations are those of products; those without constant "
        "weights stay in fp32.",
    )


def _accelerators(bench: Workbench, sheet: Sheet, plan: Plan) -> None:
    """Time the models on a GPU, if there is one, through the same interfaces."""
    samples = bench.clip(HEADLINE)
    contenders: dict[str, Work] = {}
    if torch.cuda.is_available():
        levels, waveform = (torch.from_numpy(x)[None].cuda() for x in (bench.listener.array(), samples))
        teacher = bench.teacher.cuda()

        def on_cuda() -> object:
            with torch.inference_mode():
                return teacher(waveform, levels).score.item()  # waits for the result

        contenders["teacher, PyTorch CUDA"] = on_cuda
    else:
        sheet.lacks("PyTorch on CUDA", "torch finds no CUDA device")
    for provider in ("cuda", "tensorrt"):
        for name in ("folded", "nano"):
            bundle = bench.folded if name == "folded" else Bundle(name)
            try:
                scorer = Scorer(bundle.folder, provider=provider, threads=1)
            except ProviderError as error:
                sheet.lacks(f"{name} on ONNX Runtime's {provider}", str(error))
            else:
                contenders[f"{name}, {provider}"] = whole(scorer, samples, bench)
    found = taken(contenders, plan.runs, plan.budget, plan.slow, SHORT) if contenders else {}
    if torch.cuda.is_available():
        bench.teacher.cpu()
    for name, runs in found.items():
        sheet.timing(f"gpu/{name}", f"{name}, {HEADLINE:g} s", runs)
    if found:
        rows = [[name, milliseconds(sheet.figures[f"latency/gpu/{name}"])] for name in found]
        sheet.table(f"GPU, samples to score, {HEADLINE:g} s", ["", "ms"], rows)


def _promise(sheet: Sheet) -> None:
    at, one = f"{HEADLINE:g}s", "1t"
    for what, key in (("int8", "int8/less time"), ("nano", "nano/less time"), ("student", "student/less time")):
        figure = sheet.figures.get(f"latency/{what}/times/teacher/{at}/{one}")
        if figure and figure.value and figure.low and figure.high:
            less = [100 * (1 - 1 / value) for value in (figure.value, figure.low, figure.high)]
            name = f"{named(what)}: less time than the teacher, {HEADLINE:g} s, 1 thread"
            sheet.derived(key, name, *less, unit="%", better="higher")
    student = sheet.figures.get("latency/student/less time")
    if student and student.value is not None:
        sheet.said.append(
            f"The published student takes {LESS_TIME}% less time than the teacher (hardware and clip length "
            f"untold). Here, both in PyTorch on one thread and {HEADLINE:g} s, it takes {student.value:.1f}% less."
        )
    sheet.target("int8 student: less time than the PyTorch teacher", "int8/less time", "at least", 95.0)
    sheet.target("nano: less time than the PyTorch teacher", "nano/less time", "at least", 99.5)
    timed = [s for s in LENGTHS if f"latency/nano/times/{PYCLARITY}/{s:g}s/1t" in sheet.figures]
    key = f"{HEADLINE:g}" if HEADLINE in timed else f"{max(timed, default=HEADLINE):g}"
    sheet.target(
        f"nano: times faster than pyclarity's HAAQI ({key} s of audio)",
        f"nano/times/{PYCLARITY}/{key}s/1t",
        "at least",
        1500,
    )
    sheet.target("nano: 10 s of audio, samples to score, one core", f"nano/whole/{at}/{one}", "at most", 5.0)


def _ceiling(sheet: Sheet) -> None:
    """Add the largest saving that int8 could reach."""
    shares = [
        sheet.figures.get(f"latency/{name}/share of the limit") for name in ("folded", "int8", "nano", "nano-int8")
    ]
    if any(share and share.value and share.value > 100 for share in shares):
        sheet.said.append(
            "Some network ran faster than the one large product: what int8 could save at best is not told."
        )
        return
    least = sheet.figures.get("latency/int8/limit")
    teacher = sheet.figures.get(f"latency/teacher/whole/{HEADLINE:g}s/1t")
    if least and teacher and least.value and teacher.value:
        best = 100 * (1 - least.value / teacher.value)
        sheet.said.append(
            f"The int8 student's products alone would take {short(least.value)} ms at the rate of one large product on "
            f"this machine, {best:.1f}% less than the teacher: no int8 graph of this network can save more here."
        )


def draw(section: Section) -> dict[str, tuple[Picture, str]]:
    """Plot time against duration, and the headline results."""
    keys = [f.key.split("/") for f in section.figures if f.key.count("/") == 4 and f.key.split("/")[2] == "whole"]
    threads = keys[0][4]
    lengths = sorted({float(key[3][:-1]) for key in keys})
    names = list(dict.fromkeys(key[1] for key in keys))
    on = _threads(int(threads.removesuffix("t")))
    picture, one = axes(size=(9.0, 5.2))
    for name in names:
        found = [section.figure(f"latency/{name}/whole/{s:g}s/{threads}") for s in lengths]
        band(one, lengths, found, named(name), colour(name))
    one.set(xscale="log", yscale="log", xlabel="seconds of audio", ylabel="ms", title="From samples to score")
    one.set_xticks(lengths, [f"{s:g}" for s in lengths])
    one.minorticks_off()
    one.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    at = HEADLINE if HEADLINE in lengths else lengths[-1]
    shown = {n: section.figure(f"latency/{n}/whole/{at:g}s/{threads}") for n in names}
    values = {named(n): f.value for n, f in shown.items() if f and f.value}
    tints = [colour(n) for n, f in shown.items() if f and f.value]
    return {
        "latency": (picture, f"Median time against the length of the audio, {on}; bands: 95% intervals."),
        "latency-10s": (
            bars(values, tints, f"ms for {at:g} s of audio", lambda value: f"{short(value)} ms", log=True),
            f"{at:g} s of audio, from samples in memory to the score, {on} (logarithmic).",
        ),
    }
