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

from ...evaluation.timing import time_interleaved
from ...runtime import Bundle, Scorer
from ...runtime.errors import ProviderError
from ..context import BenchContext
from ..report.plots import create_axes, draw_band, draw_bars, model_colour
from ..report.published import TIME_SAVED
from ..report.schema import Figure, Section
from ..report.section_builder import SectionBuilder
from .implementations import (
    PYCLARITY,
    Run,
    display_name,
    iterate_implementations,
    load_bundles,
    make_scoring_run,
    split_windows,
)
from .roofline import count_operations, product_rate, time_products

TITLE: Final = "Latency"
_DURATIONS: Final = (1.0, 3.0, 10.0, 30.0, 60.0)
_HEADLINE: Final = 10.0
"""seconds of audio in the headline results"""
_RUNS: Final = 31
_BUDGET: Final = 8.0
"""seconds that an implementation may take per cell; a slower one gets fewer runs"""
_MIN_RUNS: Final = 3
"""minimum number of runs, also for the slowest implementations"""
_WARM_UP_BELOW: Final = 0.1
"""an implementation that takes fewer seconds than this also runs untimed before each timed run"""
_MIN_RUNS_FOR_P95: Final = 20
"""minimum number of runs for which the 95th percentile is reported"""
LINEAR_TOLERANCE: Final = 0.1
"""largest relative deviation from a straight line at which cost is called linear"""
RunTimes = dict[str, list[float]]


class _Plan(NamedTuple):
    """Extent of the measurement.

    Attributes:
        durations, other_durations: seconds of audio, for the first number of threads and for the others.
        runs: number of runs of each implementation in a cell.
        budget: seconds that these runs may take together; a slower implementation gets fewer runs.
        min_runs: minimum number of runs.
        longest_pyclarity: seconds of the longest clip for pyclarity.
    """

    durations: tuple[float, ...]
    other_durations: tuple[float, ...]
    runs: int
    budget: float
    min_runs: int
    longest_pyclarity: float

    @classmethod
    def of(cls, quick: bool) -> _Plan:
        """Return the plan of a full run, or of a quick run, which takes a minute."""
        if quick:
            return cls((1.0, 3.0, _HEADLINE), (3.0,), 7, 0.5, 2, 1.0)
        return cls(_DURATIONS, _DURATIONS, _RUNS, _BUDGET, _MIN_RUNS, 60.0)

    def cells(self, threads: tuple[int, ...]) -> list[tuple[float, int]]:
        """List the cells: pairs of duration and number of threads."""
        return [
            (s, count) for count in threads for s in (self.durations if count == threads[0] else self.other_durations)
        ]


def measure(context: BenchContext) -> Section:
    """Time all implementations, cell by cell; a cell is a duration and a number of threads."""
    logging.getLogger("clarity").setLevel(logging.ERROR)
    builder, plan = SectionBuilder("latency", TITLE), _Plan.of(context.options.quick)
    models = load_bundles(context)
    cells: dict[tuple[float, int], RunTimes] = {}
    all_cells = plan.cells(context.options.threads)
    for number, (seconds, threads) in enumerate(all_cells):
        context.on_progress(f"latency: {seconds:g} s, {_format_threads(threads)}", number, len(all_cells))
        settings = (plan, context.options.seed, context.options.music, context.model_descriptions, sorted(models))
        cells[seconds, threads] = context.store.load_or_measure(
            f"latency/{seconds:g} s, {threads}",
            settings,
            lambda at=(seconds, threads): _time_cell(context, plan, models, *at),  # type: ignore[misc]
        )
    for (seconds, threads), cell in cells.items():
        for name, runs in cell.items():
            what, _, part = name.partition("/")
            builder.add_timing(
                f"{name}/{seconds:g}s/{threads}t", f"{display_name(what)}, {part}, {seconds:g} s, {threads} thr.", runs
            )
    _add_speedups(builder, cells)
    _add_tables(builder, cells, plan, context.options.threads)
    _add_cost_by_duration(builder, cells, context.options.threads[0])
    _add_roofline(context, builder, models, plan)
    _add_gpu_times(context, builder, plan)
    longest = plan.longest_pyclarity
    if not find_spec("clarity"):
        builder.add_missing("pyclarity's HAAQI", "it is not installed: pip install --no-deps pyclarity")
    elif longest < max(plan.durations):
        builder.add_missing(f"pyclarity's HAAQI of clips longer than {longest:g} s", "a quick run has no time for it")
    if context.options.quick:
        builder.add_missing(
            "clips of 30 and 60 s, and all but 3 s with two threads", "a quick run has no time for them"
        )
    _add_targets(builder)
    _add_int8_bound(builder)
    return builder.build()


def _time_cell(context: BenchContext, plan: _Plan, models: dict[str, Bundle], seconds: float, threads: int) -> RunTimes:
    """Return the seconds of each run, by implementation."""
    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        runs = dict(iterate_implementations(context, models, context.load_music(seconds), threads))
        if seconds > plan.longest_pyclarity:
            runs.pop(f"{PYCLARITY}/whole", None)
        if seconds > _HEADLINE:
            runs.pop("fbank per frame/front end")
        return time_interleaved(runs, plan.runs, plan.budget, plan.min_runs, _WARM_UP_BELOW)


def _add_speedups(builder: SectionBuilder, cells: dict[tuple[float, int], RunTimes]) -> None:
    """Add how many times faster than the teacher and pyclarity each implementation is, if both were timed."""
    for (seconds, threads), cell in cells.items():
        for baseline in ("teacher", PYCLARITY):
            for name, runs in cell.items():
                what, _, part = name.partition("/")
                if part == "whole" and what != baseline and f"{baseline}/whole" in cell:
                    builder.add_speedup(
                        f"{what}/times/{baseline}/{seconds:g}s/{threads}t",
                        f"{display_name(what)}: times faster than {display_name(baseline)}, {seconds:g} s, "
                        f"{threads} thr.",
                        cell[f"{baseline}/whole"],
                        runs,
                    )


def _add_tables(
    builder: SectionBuilder, cells: dict[tuple[float, int], RunTimes], plan: _Plan, threads: tuple[int, ...]
) -> None:
    """Add the headline results, and a table of all times for each number of threads and each part."""
    for count in threads:
        durations = sorted(s for s, t in cells if t == count)
        names = list(dict.fromkeys(name for (_, t), cell in cells.items() if t == count for name in cell))
        for part, title in (
            ("whole", "From samples in memory to the score"),
            ("network", "Network alone"),
            ("front end", "Front end alone"),
        ):
            rows = [
                [display_name(name.partition("/")[0])]
                + [_format_time(builder.figures.get(f"latency/{name}/{s:g}s/{count}t")) for s in durations]
                for name in names
                if name.endswith(f"/{part}")
            ]
            builder.add_table(
                f"{title}, {_format_threads(count)}",
                ["ms", *(f"{s:g} s" for s in durations)],
                rows,
                "Median (95% interval of the median; 95th percentile of at least "
                f"{_MIN_RUNS_FOR_P95} runs, otherwise the number of runs). Implementations that take less than "
                f"{1e3 * _WARM_UP_BELOW:g} ms also run untimed before each run, as if you scored clip after clip. The "
                "section on cold start has the time of the first score of a process.",
            )
    at = _HEADLINE if _HEADLINE in plan.durations else plan.durations[-1]
    rows = []
    for name in cells[at, threads[0]]:
        what, _, part = name.partition("/")
        if part == "whole":
            times = [
                _format_ratio(builder.figures.get(f"latency/{what}/times/{baseline}/{s:g}s/{threads[0]}t"))
                for baseline, s in (("teacher", at), (PYCLARITY, min(at, plan.longest_pyclarity)))
            ]
            rows.append(
                [display_name(what), _format_time(builder.figures[f"latency/{name}/{at:g}s/{threads[0]}t"]), *times]
            )
    of = "" if plan.longest_pyclarity >= at else f" ({plan.longest_pyclarity:g} s of audio)"
    builder.add_table(
        f"Headline: {at:g} s of audio, samples to score, {_format_threads(threads[0])}",
        ["", "ms", "times faster than the teacher", f"times faster than pyclarity's HAAQI{of}"],
        rows,
        "Ratios are medians of ratios of interleaved runs, with 95% bootstrap intervals.",
    )
    builder.tables.insert(0, builder.tables.pop())


def _format_threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _format_time(figure: Figure | None) -> str:
    """Format a time in ms with its interval and its 95th percentile or its number of runs."""
    if figure is None or figure.value is None:
        return "–"
    limits = "" if figure.low is None else f"{_format_short(figure.low)} to {_format_short(figure.high)}; "
    runs = figure.count or 0
    tail = f"p95 {_format_short(figure.p95)}" if runs >= _MIN_RUNS_FOR_P95 else f"{runs} run{'s' if runs > 1 else ''}"
    return f"{_format_short(figure.value)} ({limits}{tail})"


def _format_ratio(figure: Figure | None) -> str:
    """Format a ratio with its interval."""
    if figure is None or figure.value is None:
        return "–"
    return f"{_format_short(figure.value)}" + (
        "" if figure.low is None else f" ({_format_short(figure.low)} to {_format_short(figure.high)})"
    )


def _format_short(value: float | None) -> str:
    """Format a number with three digits and thousands separators."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _add_cost_by_duration(builder: SectionBuilder, cells: dict[tuple[float, int], RunTimes], threads: int) -> None:
    """Add how the cost grows with the duration.

    A straight line is fitted to the medians. The largest deviation from it shows whether the cost is linear.
    """
    durations = sorted({seconds for seconds, t in cells if t == threads})
    rows = []
    for name in cells[durations[-1], threads] | cells[durations[0], threads]:
        if not name.endswith("/whole"):
            continue
        known = [s for s in durations if name in cells[s, threads]]
        if len(known) < 3:
            continue
        medians = np.array([np.median(cells[s, threads][name]) for s in known])
        slope, intercept, deviation = fit_line(np.array(known), medians)
        what = name.partition("/")[0]
        builder.add_estimate(
            f"{what}/per second of audio/{threads}t",
            f"{display_name(what)}: ms per second of audio",
            1e3 * slope,
            "ms",
            "lower",
        )
        builder.add_estimate(
            f"{what}/off the line/{threads}t",
            f"{display_name(what)}: largest relative deviation from a straight line",
            deviation,
        )
        verdict = "linear" if deviation <= LINEAR_TOLERANCE else "not linear"
        rows.append(
            [
                display_name(what),
                _format_short(1e3 * slope),
                _format_short(1e3 * intercept),
                f"{100 * deviation:.0f}%",
                verdict,
            ]
        )
    builder.add_table(
        "Cost by duration",
        ["", "ms per second of audio", "constant ms", "largest deviation from the line", ""],
        rows,
        "A straight line is fitted to the medians by relative errors. Cost is called linear up to a deviation of "
        f"{LINEAR_TOLERANCE:.0%}.",
    )


def fit_line(durations: npt.NDArray[np.float64], seconds: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Fit the straight line with the smallest relative errors.

    Args:
        lengths: float64 [n], seconds of audio.
        seconds: float64 [n], seconds that they take.

    Returns:
        slope, intercept, and the largest relative error.
    """
    basis = np.stack([durations, np.ones_like(durations)], axis=1)
    (slope, intercept), *_ = np.linalg.lstsq(basis / seconds[:, None], np.ones_like(seconds), rcond=None)
    return float(slope), float(intercept), float(np.abs(basis @ [slope, intercept] / seconds - 1).max())


def _add_roofline(context: BenchContext, builder: SectionBuilder, models: dict[str, Bundle], plan: _Plan) -> None:
    """Add the shortest times that this machine could reach for the networks, and how close they come."""
    threads = context.options.threads[0]
    at = max(s for s in plan.durations if s <= _HEADLINE)
    context.on_progress("latency: rate of one large product", 0, 0)
    times = context.store.load_or_measure("latency/rates", (plan, threads), lambda: time_products(plan.runs, threads))
    rates = {}
    for name, seconds in times.items():
        figure = builder.add_measurements(
            f"rate/{name}",
            f"rate of one large product, {name}, {threads} thr.",
            [product_rate(one) for one in seconds],
            of="runs in turn",
            unit="billion operations/s",
            better="higher",
        )
        assert figure.value is not None
        rates[name] = figure.value
    rows = []
    samples = context.load_music(at)
    pairs = {"folded": "int8", "nano": "nano-int8"}  # int8 needs the same operations as its fp32 graph
    for fp32, int8 in pairs.items():
        operations = count_operations(models[fp32], split_windows(samples, models[fp32].card.window))
        for name in (fp32, int8):
            precision = models[name].card.precision
            figure = builder.figures[f"latency/{name}/network/{at:g}s/{threads}t"]
            shortest = 1e3 * operations.seconds(rates, precision)
            assert figure.value is not None
            share = 100 * shortest / figure.value
            builder.add_estimate(
                f"{name}/limit", f"{display_name(name)}: shortest time at the product's rate, {at:g} s", shortest, "ms"
            )
            builder.add_estimate(
                f"{name}/share of the limit", f"{display_name(name)}: share of that rate reached", share, "%", "higher"
            )
            total = operations.constant + operations.rest
            rows.append(
                [display_name(name), f"{total:.3g}", _format_short(shortest), _format_time(figure), f"{share:.0f}%"]
            )
    builder.add_table(
        f"Roofline: the network on {at:g} s, {_format_threads(threads)}",
        ["", "billion operations", "shortest ms", "measured ms", "of the roofline"],
        rows,
        f"One large product ran at {rates['fp32']:.0f} billion operations per second in fp32 and at "
        f"{rates['int8']:.0f} in int8 in this run. Only products are counted. Those without constant "
        "weights stay in fp32.",
    )


def _add_gpu_times(context: BenchContext, builder: SectionBuilder, plan: _Plan) -> None:
    """Time the models on a GPU, if there is one, through the same interfaces."""
    samples = context.load_music(_HEADLINE)
    implementations: dict[str, Run] = {}
    if torch.cuda.is_available():
        levels, waveform = (torch.from_numpy(x)[None].cuda() for x in (context.listener.array(), samples))
        teacher = context.teacher.cuda()

        def on_cuda() -> object:
            with torch.inference_mode():
                return teacher(waveform, levels).score.item()  # waits for the result

        implementations["teacher, PyTorch CUDA"] = on_cuda
    else:
        builder.add_missing("PyTorch on CUDA", "torch finds no CUDA device")
    for provider in ("cuda", "tensorrt"):
        for name in ("folded", "nano"):
            bundle = context.folded_student if name == "folded" else Bundle(name)
            try:
                scorer = Scorer(bundle.folder, provider=provider, threads=1)
            except ProviderError as error:
                builder.add_missing(f"{name} on ONNX Runtime's {provider}", str(error))
            else:
                implementations[f"{name}, {provider}"] = make_scoring_run(scorer, samples, context)
    times: dict[str, list[float]] = {}
    if implementations:
        times = time_interleaved(implementations, plan.runs, plan.budget, plan.min_runs, _WARM_UP_BELOW)
    if torch.cuda.is_available():
        context.teacher.cpu()
    for name, runs in times.items():
        builder.add_timing(f"gpu/{name}", f"{name}, {_HEADLINE:g} s", runs)
    if times:
        rows = [[name, _format_time(builder.figures[f"latency/gpu/{name}"])] for name in times]
        builder.add_table(f"GPU, samples to score, {_HEADLINE:g} s", ["", "ms"], rows)


def _add_targets(builder: SectionBuilder) -> None:
    """Add the time saved against the teacher, and the targets."""
    at, one = f"{_HEADLINE:g}s", "1t"
    for what, key in (("int8", "int8/less time"), ("nano", "nano/less time"), ("student", "student/less time")):
        figure = builder.figures.get(f"latency/{what}/times/teacher/{at}/{one}")
        if figure and figure.value and figure.low and figure.high:
            less = [100 * (1 - 1 / value) for value in (figure.value, figure.low, figure.high)]
            name = f"{display_name(what)}: less time than the teacher, {_HEADLINE:g} s, 1 thread"
            builder.add_derived(key, name, *less, unit="%", better="higher")
    student = builder.figures.get("latency/student/less time")
    if student and student.value is not None:
        builder.statements.append(
            f"The published student takes {TIME_SAVED}% less time than the teacher (hardware and clip length "
            f"are not reported). Here, with both in PyTorch, one thread and {_HEADLINE:g} s of audio, it takes "
            f"{student.value:.1f}% less."
        )
    builder.add_target("int8 student: less time than the PyTorch teacher", "int8/less time", "at least", 95.0)
    builder.add_target("nano: less time than the PyTorch teacher", "nano/less time", "at least", 99.5)
    timed = [s for s in _DURATIONS if f"latency/nano/times/{PYCLARITY}/{s:g}s/1t" in builder.figures]
    key = f"{_HEADLINE:g}" if _HEADLINE in timed else f"{max(timed, default=_HEADLINE):g}"
    builder.add_target(
        f"nano: times faster than pyclarity's HAAQI ({key} s of audio)",
        f"nano/times/{PYCLARITY}/{key}s/1t",
        "at least",
        1500,
    )
    builder.add_target("nano: 10 s of audio, samples to score, one core", f"nano/whole/{at}/{one}", "at most", 5.0)


def _add_int8_bound(builder: SectionBuilder) -> None:
    """Add the largest saving that int8 could reach."""
    shares = [
        builder.figures.get(f"latency/{name}/share of the limit") for name in ("folded", "int8", "nano", "nano-int8")
    ]
    if any(share and share.value and share.value > 100 for share in shares):
        builder.statements.append(
            "A network ran faster than the one large product, so no bound for the saving by int8 is given."
        )
        return
    shortest = builder.figures.get("latency/int8/limit")
    teacher = builder.figures.get(f"latency/teacher/whole/{_HEADLINE:g}s/1t")
    if shortest and teacher and shortest.value and teacher.value:
        saving = 100 * (1 - shortest.value / teacher.value)
        builder.statements.append(
            f"The int8 student's products alone would take {_format_short(shortest.value)} ms at the rate of one large "
            f"product on this machine, {saving:.1f}% less than the teacher: no int8 graph of this network can save "
            "more here."
        )


def plot(section: Section) -> dict[str, tuple[Picture, str]]:
    """Plot time against duration, and the headline results."""
    keys = [f.key.split("/") for f in section.figures if f.key.count("/") == 4 and f.key.split("/")[2] == "whole"]
    threads = keys[0][4]
    durations = sorted({float(key[3][:-1]) for key in keys})
    names = list(dict.fromkeys(key[1] for key in keys))
    threads_text = _format_threads(int(threads.removesuffix("t")))
    picture, ax = create_axes(size=(9.0, 5.2))
    for name in names:
        figures = [section.figure(f"latency/{name}/whole/{s:g}s/{threads}") for s in durations]
        draw_band(ax, durations, figures, display_name(name), model_colour(name))
    ax.set(xscale="log", yscale="log", xlabel="seconds of audio", ylabel="ms", title="From samples to score")
    ax.set_xticks(durations, [f"{s:g}" for s in durations])
    ax.minorticks_off()
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    at = _HEADLINE if _HEADLINE in durations else durations[-1]
    shown = {n: section.figure(f"latency/{n}/whole/{at:g}s/{threads}") for n in names}
    values = {display_name(n): f.value for n, f in shown.items() if f and f.value}
    colours = [model_colour(n) for n, f in shown.items() if f and f.value]
    return {
        "latency": (picture, f"Median time against the duration of the audio, {threads_text}; bands: 95% intervals."),
        "latency-10s": (
            draw_bars(
                values, colours, f"ms for {at:g} s of audio", lambda value: f"{_format_short(value)} ms", log=True
            ),
            f"{at:g} s of audio, from samples in memory to the score, {threads_text} (logarithmic).",
        ),
    }
