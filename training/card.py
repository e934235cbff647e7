"""The training section of a model's card: results by group, the data, and attribution of the music.

python -m haaqi_edge.training.card runtime/models/nano      # write README.md and card.png of a bundle again
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..model.nano import NANO_FREQUENCIES
from ..runtime.audiogram import FREQUENCIES
from ..runtime.bundle import Bundle, Card
from ..runtime.writing import replace_atomically, write_file
from .corpus.clips import Corpus
from .data.rows import PRESENTATION_LEVEL, SYNTHETIC, Row
from .degradations.sampling import HELD_OUT, family, is_from_studies, is_unseen
from .intervals import coverage_of
from .statistics import agreement, agreement_intervals

MIN_GROUP_ROWS: Final = 20
"""Minimum number of rows of a group that gets its own results."""
_HELD_OUT_SINCE: Final = frozenset({"crowd"})
"""Conditions that only tables later than those of 2026-11 hold out."""
_HELD_OUT_BEFORE: Final = frozenset({"ringing"})
"""Conditions that only the tables of 2026-11 hold out. Cards of networks trained on them list no held-out ones."""
_NAMED_GROUPS: Final = 5
"""Number of best and of worst conditions that the summary of the page names."""
PRETRAINED: Final = (
    "the first layers of the encoder are those of mn04 (EfficientAT: Schmid, Koutini & Widmer 2023; MIT licence), "
    "which was trained on AudioSet; the first four of them are unchanged, the others were trained further"
)
PICTURE: Final = "card.png"
"""File name of the plots in a bundle's folder, beside the page."""
_BINS: Final = 25
"""Number of bins per axis in the histogram of predictions and labels."""
_DRAWN_CONDITIONS: Final = 20
"""Number of conditions in the plot of errors."""
_PARTS: Final = 10
"""Number of ranges of the prediction in which the calibration is measured."""
_CHECKS: Final = {
    "snr": ("share of clips whose score falls with the SNR (rank correlation of at least 0.95)", "at least"),
    "clean": ("mean score of clean music that is amplified by NAL-R", "more than"),
    "formats": ("largest difference of a clip's score between file formats", "at most"),
    "listeners": ("share of pairs of listeners between whom the score changes in the direction of HAAQI", "at least"),
}
"""For each check of plausibility: its text, and how the result compares with the target."""
_WHOLE: Final = {
    "all": "all",
    "seen": "conditions in the training",
    "unseen": "conditions not in the training",
    "comparable": "conditions of the HAAQI studies with NAL-R at 65 dB SPL",
}
PLOTS: Final = "plots"
"""Key of the data of the plots among the results of a table."""


def metrics_by_group(
    rows: Sequence[Row],
    predicted: npt.NDArray[np.float32],
    genres: Mapping[str, str] | None = None,
    intervals: npt.NDArray[np.float32] | None = None,
) -> dict[str, Any]:
    """Compute LCC, SRCC and MSE with bootstrap intervals, for all rows and for groups of rows.

    Args:
        rows: rows of a label table.
        predicted: predicted scores [rows].
        genres: genre of each clip. None leaves out the groups by genre.
        intervals: predicted intervals [rows, 2]. None leaves out their coverage and mean width.

    Returns:
        Results of all rows (`all`), of the conditions that training includes (`seen`) and does not include (`unseen`),
        and of the rows that are comparable with HAAQI-Net's paper (`comparable`). Also results by family of condition,
        hearing aid, listener, level and genre.
    """
    labels = np.array([row.score for row in rows])

    def figures(chosen: npt.NDArray[np.bool_]) -> dict[str, float | int]:
        found = agreement(predicted[chosen], labels[chosen])
        lcc, srcc, mse = agreement_intervals(predicted[chosen], labels[chosen])
        named = {
            "lcc": found.lcc,
            "lcc_low": lcc.low,
            "lcc_high": lcc.high,
            "srcc": found.srcc,
            "srcc_low": srcc.low,
            "srcc_high": srcc.high,
            "mse": found.mse,
            "mse_low": mse.low,
            "mse_high": mse.high,
        }
        if intervals is not None:
            named["coverage"], named["width"] = coverage_of(intervals[chosen], labels[chosen])
        return {**{key: round(value, 4) for key, value in named.items()}, "rows": found.rows}

    unseen = np.array([is_unseen(row.chain) for row in rows])
    comparable = np.array([is_comparable(row) for row in rows])
    result: dict[str, Any] = {"all": figures(np.ones(len(rows), dtype=bool))}
    for name, chosen in (("seen", ~unseen), ("unseen", unseen), ("comparable", comparable)):
        if chosen.sum() >= MIN_GROUP_ROWS:
            result[name] = figures(chosen)
    groups: dict[str, Callable[[Row], str]] = {
        "condition": lambda row: family(row.chain),
        "aid": lambda row: "nal-r, wrongly fitted" if "(" in row.aid else row.aid,
        "listener": lambda row: row.listener,
        "level": lambda row: (
            "65 dB SPL" if row.level == PRESENTATION_LEVEL else "softer" if row.level < 65 else "louder"
        ),
    }
    if genres:
        groups["genre"] = lambda row: genres[row.clip]
    for name, group in groups.items():
        keys = np.array([group(row) for row in rows])
        counts = {key: int((keys == key).sum()) for key in sorted(set(keys))}
        result[name] = {key: figures(keys == key) for key, count in counts.items() if count >= MIN_GROUP_ROWS}
    return result


def plot_data(
    predicted: npt.NDArray[np.float32],
    labels: npt.NDArray[np.floating],
    intervals: npt.NDArray[np.float32] | None = None,
) -> dict[str, Any]:
    """Summarize predictions for the plots of the model card.

    Args:
        predicted: predicted scores [rows], 0 to 1.
        labels: HAAQI [rows], 0 to 1.
        intervals: predicted intervals [rows, 2]. None leaves out their means and coverage.

    Returns:
        `counts`: histogram [label][prediction] of the rows, with equal bins from 0 to 1. `ranges`: for each tenth of
        the rows, ordered by prediction, the mean prediction, the 5th, 50th and 95th percentile of the labels, and the
        mean ends and the coverage of the intervals.
    """
    counts, _, _ = np.histogram2d(labels, predicted, bins=_BINS, range=[(0, 1), (0, 1)])
    ranges = []
    for part in np.array_split(np.argsort(predicted, kind="stable"), min(_PARTS, len(labels))):
        low, median, high = np.quantile(labels[part], [0.05, 0.5, 0.95])
        values = {"predicted": predicted[part].mean(), "p5": low, "p50": median, "p95": high}
        if intervals is not None:
            values["low"], values["high"] = intervals[part].mean(axis=0)
            values["coverage"] = coverage_of(intervals[part], labels[part])[0]
        ranges.append({key: round(float(value), 4) for key, value in values.items()})
    return {"counts": counts.astype(int).tolist(), "ranges": ranges}


def is_comparable(row: Row) -> bool:
    """Return whether HAAQI-Net's paper includes such rows: conditions of the HAAQI studies, NAL-R, 65 dB SPL."""
    return is_from_studies(row.chain) and row.aid == "nal-r" and row.level == PRESENTATION_LEVEL


def describe_model(card: Card) -> str:
    """Return the model card as Markdown, from the content of `card.json`.

    Args:
        card: of a bundle that was trained on label tables, or of an int8 bundle that was quantized from one.
    """
    if "quantization" in card.figures:
        return _describe_quantized(card)
    figures, notes = card.figures["test"], card.notes
    kinds = [kind for kind in figures if kind not in _WHOLE and kind != PLOTS]
    held_out = notes.get("held_out", HELD_OUT.keys() - _HELD_OUT_SINCE | _HELD_OUT_BEFORE)
    groups = [(name, figures[key]) for key, name in _WHOLE.items() if key in figures]
    groups += [(f"{kind}: {key}{_absent(key, held_out)}", f) for kind in kinds for key, f in figures[kind].items()]
    with_intervals = "coverage" in figures["all"]
    heading = (
        "| sounds | LCC (95%) | SRCC (95%) | MSE |" + (" coverage | width |" if with_intervals else "") + " number |"
    )
    table = "\n".join(
        [heading, "|---" * (heading.count("|") - 1) + "|", *(_group_row(name, f, with_intervals) for name, f in groups)]
    )
    music = "\n".join(f"| {name} | {s['origin']} | {s['licences']} |" for name, s in notes["data"]["sources"].items())
    return f"""# {card.name} {card.version}

{_summary(card, held_out)}

{_plots_section(card)}<details><summary>Accuracy of {len(groups)} groups of test sounds</summary>

A condition is a degradation (see `docs/data.md`), and "combination" is several in a row. "coverage" is the share of
sounds whose HAAQI is in the 90% interval, "width" the mean width of this interval. Groups of fewer than
{MIN_GROUP_ROWS} sounds are left out.

{table}

</details>

{_unfamiliar_section(card)}{_other_tables(card)}{_sanity(card.figures)}## Labels

{_sentences(notes["labels"])}

## Reproduce

<!-- not-run: needs the corpus and takes hours -->
```bash
{notes["again"]}
```

{_remarks(notes)}This page is made from `card.json`.

## Music and licences

None of the music is in this package. An origin is a Debian package or a repository; its credits name the authors.

<details><summary>Sources ({len(notes["data"]["sources"])})</summary>

| source | origin | licences |
|---|---|---|
{music}

</details>
"""


def _describe_quantized(card: Card) -> str:
    """Return the model card of an int8 bundle."""
    found = card.figures["quantization"]
    chosen, accuracy = found["chosen"], found["accuracy"]
    change = chosen["change"]
    original = card.name.removesuffix("-int8")
    lines = [
        f"**Purpose.** The model `{original}` in int8: smaller files, for devices with little memory. "
        f"{card.parameters:,} parameters.",
        f"**Size.** {chosen['bytes'] / 1e6:.2f} MB instead of {found['fp32_bytes'] / 1e6:.2f} MB.",
        f"**Scores.** They differ from those of `{original}` by {change['mean']:.4f} on average and "
        f"{change['largest']:.4f} at most. The 99th percentile is {change['p99']:.4f} (budget: {found['budget']:g}). "
        f"Measured on {accuracy['scores']} scores of {accuracy['excerpts']} excerpts ({accuracy['source']}).",
        f"**Accuracy** against HAAQI: that of `{original}`, apart from these differences. See its model card.",
    ]
    if chosen.get("speed"):
        speed, machine = chosen["speed"]["whole_times_faster"], found["machine"]
        lines.append(
            f"**Time** from samples to score: {speed['median']:.2f} times as fast as fp32 (95%: {speed['low']:.2f} to "
            f"{speed['high']:.2f}) on {machine['processor']}, {machine['cores']} cores, ONNX Runtime "
            f"{machine['onnxruntime']}. Most of the time is spent in the front end, which stays in floating point."
        )
    lines += [
        f"**Format.** {chosen['method'].capitalize()} int8 for `{found['target']}` ({found['formats']}). Parts of the "
        f"network that stay in fp32: {', '.join(chosen['left_in_fp32']) or 'none'}.",
        f"**Streaming.** {'Yes.' if card.streamable else 'No: the tokens of a patch depend on the other patches.'}",
    ]
    summary = "\n".join(f"- {line}" for line in lines)
    alone = "\n".join(f"| {one['group']} | {one['p99']:.4f} | {one['largest']:.4f} |" for one in chosen["alone"])
    return f"""# {card.name} {card.version}

{summary}

<details><summary>Differences of the scores if one part of the network alone is quantized</summary>

| part (layer group) | 99th percentile | largest |
|---|---|---|
{alone}

</details>

{_unfamiliar_section(card)}## Reproduce

<!-- not-run: takes one to two minutes on two cores -->
```bash
{card.notes["again"]}
```

This page is made from `card.json`.
"""


def _summary(card: Card, held_out: Collection[str]) -> str:
    """Return the first lines of the page: purpose, accuracy, weak points, data."""
    figures, notes = card.figures["test"], card.notes
    everything, conditions = figures["all"], figures.get("condition", {})
    ordered = sorted((f["lcc"], key, f["rows"]) for key, f in conditions.items())
    unread = " and ".join(f"{hz:,}" for hz in FREQUENCIES if hz not in NANO_FREQUENCIES)
    rows = ", ".join(f"{number:,} ({split})" for split, number in notes["data"]["rows"].items())
    lines = [
        "**Purpose.** Predict HAAQI, the hearing-aid audio quality index (0 to 1), from music and an audiogram, "
        f"without the clean original. {card.parameters:,} parameters, {card.precision}.",
        "**Use** it to compare versions of one piece for one listener. Do not compare different pieces.",
        f"**Accuracy** on {everything['rows']:,} test sounds of music sources that are not in the training: "
        f"{_agreement_text(everything)}. LCC and SRCC are the linear and the rank correlation with HAAQI. MSE is "
        f"the mean squared error; its root is {everything['mse'] ** 0.5:.2f}.",
    ]
    if "unseen" in figures:
        unseen = figures["unseen"]
        lines.append(
            f"**Unseen conditions.** {unseen['rows']:,} of these sounds are degraded in ways that are not in the "
            f"training: {_agreement_text(unseen)}."
        )
    if "coverage" in everything:
        held = f", and for {figures['unseen']['coverage']:.1%} of the unseen conditions" if "unseen" in figures else ""
        lines.append(
            f"**Interval.** HAAQI is in the 90% interval for {everything['coverage']:.1%} of the test sounds{held}. "
            f"Its mean width is {everything['width']:.2f}."
        )
    if ordered:
        lines.append(f"**Best conditions** (LCC): {_list_groups(ordered[::-1][:_NAMED_GROUPS], held_out)}.")
        lines.append(f"**Worst conditions** (LCC): {_list_groups(ordered[:_NAMED_GROUPS], held_out)}.")
    if worst := sorted((f["lcc"], key, f["rows"]) for key, f in figures.get("genre", {}).items())[:_NAMED_GROUPS]:
        lines.append(f"**Worst genres** (LCC): {_list_groups(worst, ())}.")
    lines += [
        f"**Data.** Sounds: {rows}. The music of the training: {notes['data']['clips']:,} recorded or rendered clips "
        f"and {notes['data']['pieces']:,} synthetic pieces.",
        *([f"**Pretrained layers.** {_sentences(notes['pretrained'])}"] if "pretrained" in notes else []),
        f"**Limits.** {_sentences(notes['limits'])} Like HAAQI, the model does not read the audiogram at {unread} Hz.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _agreement_text(figures: Mapping[str, Any]) -> str:
    return (
        f"LCC {figures['lcc']:.3f} (95%: {figures['lcc_low']:.3f} to {figures['lcc_high']:.3f}), "
        f"SRCC {figures['srcc']:.3f}, MSE {figures['mse']:.4f}"
    )


def _list_groups(groups: Sequence[tuple[float, str, int]], held_out: Collection[str]) -> str:
    return ", ".join(f"{key}{_absent(key, held_out)} {lcc:.2f} (n={rows})" for lcc, key, rows in groups)


def _sentences(text: str) -> str:
    """Return the parts of a text, which semicolons divide, as sentences. Semicolons in brackets divide nothing."""
    parts = re.split(r"(?<=[^;]); (?![^(]*\))", text)
    return " ".join(f"{part[:1].upper()}{part[1:].rstrip('.')}." for part in parts)


def _remarks(notes: Mapping[str, Any]) -> str:
    """Return how the training of the shipped weights differed from the command, if it did."""
    return f"These weights were {notes['remarks']}.\n\n" if "remarks" in notes else ""


def _group_row(name: str, figures: Mapping[str, Any], with_intervals: bool) -> str:
    """Return the row of a group in the table of the page."""
    intervals = f" {figures['coverage']:.1%} | {figures['width']:.2f} |" if with_intervals else ""
    return (
        f"| {name} | {figures['lcc']:.3f} ({figures['lcc_low']:.3f} to {figures['lcc_high']:.3f}) | "
        f"{figures['srcc']:.3f} ({figures['srcc_low']:.3f} to {figures['srcc_high']:.3f}) | {figures['mse']:.4f} |"
        f"{intervals} {figures['rows']} |"
    )


def _plots_section(card: Card) -> str:
    if not _has_plots(card):
        return ""
    return f"![Predictions and HAAQI, calibration of the interval, error by condition]({PICTURE})\n\n"


def _has_plots(card: Card) -> bool:
    return "condition" in card.figures.get("test", {})


def _other_tables(card: Card) -> str:
    """Return the results on the validation split and on older test tables."""
    valid = card.figures["valid"]
    lines = [f"- Validation split, which was used to choose the epoch: LCC {valid['lcc']:.3f}"]
    for name in (name for name in card.figures if name.startswith("test-")):
        lines.append(f"- {name}, an older test split: {_agreement_text(card.figures[name]['all'])}")
    return "## Accuracy on other data\n\n" + "\n".join(lines) + "\n\n"


def draw_card(card: Card, path: Path) -> None:
    """Draw the plots of a model card: predictions and HAAQI, calibration of the interval, error by condition.

    Cards of older trainings have the data of the last plot only. Nothing is drawn if a card has none.

    Args:
        card: the card of a bundle that was trained on label tables.
        path: PNG file.
    """
    if not _has_plots(card):
        return
    from matplotlib.figure import Figure

    figures = card.figures["test"]
    plots = figures.get(PLOTS)
    figure = Figure(figsize=(12.5, 4.6) if plots else (5, 4.6), layout="constrained")
    if plots:
        scatter, calibration, bars = figure.subplots(1, 3)
        counts = np.array(plots["counts"], dtype=float)
        scatter.imshow(np.log1p(counts).T, origin="lower", extent=(0, 1, 0, 1), cmap="Blues")
        scatter.plot([0, 1], [0, 1], color="0.4", linewidth=1)
        scatter.set(xlabel="HAAQI", ylabel="prediction", title=f"{figures['all']['rows']:,} test sounds (log density)")
        ranges = {key: [part[key] for part in plots["ranges"]] for key in plots["ranges"][0]}
        if "low" in ranges:
            calibration.fill_between(
                ranges["predicted"],
                ranges["low"],
                ranges["high"],
                color="tab:blue",
                alpha=0.2,
                label="90% interval, mean",
            )
        calibration.fill_between(
            ranges["predicted"],
            ranges["p5"],
            ranges["p95"],
            facecolor="none",
            edgecolor="black",
            linestyle=":",
            label="HAAQI, 5% to 95%",
        )
        calibration.plot(ranges["predicted"], ranges["p50"], color="black", marker=".", label="HAAQI, median")
        calibration.plot([0, 1], [0, 1], color="0.6", linewidth=1)
        coverage = f": {figures['all']['coverage']:.1%} covered" if "coverage" in figures["all"] else ""
        calibration.set(
            xlim=(0, 1),
            ylim=(0, 1),
            aspect="equal",
            xlabel="prediction",
            ylabel="HAAQI",
            title=f"calibration{coverage}",
        )
        calibration.legend(loc="upper left", fontsize=8)
    else:
        bars = figure.subplots()
    errors = sorted((f["mse"] ** 0.5, key) for key, f in figures["condition"].items())[-_DRAWN_CONDITIONS:]
    bars.barh([key for _, key in errors], [error for error, _ in errors], color="tab:blue")
    bars.axvline(figures["all"]["mse"] ** 0.5, color="black", linestyle=":", label="all")
    bars.tick_params(axis="y", labelsize=7)
    bars.set(xlabel="root mean squared error", title="largest errors by condition")
    bars.margins(y=0.01)
    bars.legend(loc="lower right", fontsize=8)
    with replace_atomically(path) as part:
        figure.savefig(part, dpi=100, format="png", metadata={"Software": None})


def write_model_card(bundle: Path) -> None:
    """Write the page of a bundle into its folder, and the plots if it was trained on label tables."""
    card = Bundle(bundle).card
    draw_card(card, bundle / PICTURE)
    write_file(describe_model(card).encode(), bundle / "README.md")


def _absent(kind: str, held_out: Collection[str]) -> str:
    return " (not in training)" if kind in held_out else ""


def _unfamiliar_section(card: Card) -> str:
    """Return the section on sounds that are unlike the training data; empty for a model without the measure."""
    if card.familiarity is None:
        return ""
    results: Mapping[str, Any] = card.familiarity.results
    parts = [
        ("above the threshold", "", results["flagged"]),
        ("others", "_others", results["rows"] - results["flagged"]),
    ]
    covered = "coverage" in results
    rows = "\n".join(
        f"| {name} | {number:,} | {results[f'rmse{key}']:.3f} |"
        + (f" {results[f'coverage{key}']:.1%} | {results[f'width{key}']:.2f} |" if covered else "")
        for name, key, number in parts
    )
    kinds = "\n".join(f"| {kind} | {share:.0%} |" for kind, share in results["sounds"].items())
    heading = "| test sounds | number | root mean squared error |" + (" coverage | width |" if covered else "")
    by_width = results.get("auc_errors_by_width")
    wide = "" if by_width is None else f" The width of the interval does better: {by_width:.2f}."
    return f"""## Unfamiliar sounds

`haaqi-edge score` warns of a sound that is unlike the training data (`Score.unfamiliar`). It compares the mean and the
spread of the sound's tokens with those of training clips. The distance of {card.familiarity.share:.0%} of the test
sounds is above the threshold.

{heading}
{"|---" * (heading.count("|") - 1)}|
{rows}

The distance recognizes sounds that are not music. It hardly predicts the error. Of two test sounds, one with an error
above 0.2 and one with a smaller error, the first has the larger distance with a probability of
{results["auc_errors"]:.2f}.{wide} A sound needs at least 5 s that are not silent. If only the first 5 s of the test
sounds are used, {results["flagged_half"]:.1%} of them are above the threshold.

| other sounds | above the threshold |
|---|---|
{kinds}

"""


def _sanity(figures: Mapping[str, Any]) -> str:
    """Return the section on plausibility, if it was measured (`benchmarks.studies.sanity`)."""
    if "sanity" not in figures:
        return ""
    found = [(*texts, figures["sanity"][name]) for name, texts in _CHECKS.items()]
    lines = "\n".join(
        f"| {text} | {check['figure']:.4f} | {bound} {check['target']:g} | {'met' if check['met'] else 'missed'} |"
        for text, bound, check in found
        if check["figure"] is not None
    )
    return f"""## Plausibility on real music

| check | result | target | |
|---|---|---|---|
{lines}

"""


def training_notes(
    corpus: Corpus,
    rows: Mapping[str, Sequence[Row]],
    config: Mapping[str, Any],
    trained_on: Sequence[str] = ("train",),
    model_family: str = "nano",
) -> dict[str, Any]:
    """Describe the data, the labels, the limits, and how to reproduce the model.

    Args:
        corpus: of the label tables.
        rows: the rows that were used, by table.
        config: settings of the training.
        trained_on: the tables that the network was trained on.
        model_family: `nano` or `small`.
    """
    again = f"haaqi-edge train {model_family} --corpus CORPUS --table training/table -o runs/{model_family}"
    if model_family == "small":
        again += " --pretrained mn04_as_mAP_432.pt"
    music = {(str(corpus.part(name).folder), row.clip) for name in trained_on for row in rows[name]}
    recorded = {key for key in music if not key[1].startswith(SYNTHETIC)}
    sources: dict[str, dict[str, str]] = {}
    for name, part in rows.items():
        used = {row.clip for row in part}
        clips = [clip for clip in corpus.part(name).clips if clip.path in used]
        for clip in sorted(clips, key=lambda clip: clip.source):
            source = sources.setdefault(clip.source, {"origin": clip.origin, "licences": ""})
            licences = {*filter(None, source["licences"].split("; ")), clip.licence} - {""}
            source["licences"] = "; ".join(sorted(licences))
    return {
        "data": {
            "rows": {split: len(part) for split, part in rows.items()},
            "clips": len(recorded),
            "pieces": len(music - recorded),
            "sources": dict(sorted(sources.items())),
        },
        "held_out": sorted(HELD_OUT),
        "labels": (
            "HAAQI v1 (Kates & Arehart 2016) by haaqi_edge.haaqi, within 1e-3 of pyclarity's, against the clean music "
            "with NAL-R; 70% of the sounds are amplified by NAL-R for their listener, 20% by NAL-R that is wrongly "
            "fitted, 10% not at all; half of them are presented at 65 dB SPL, the others at 45 to 85 dB SPL"
        ),
        "limits": (
            "the labels are an index and not people's ratings; the training music is mostly instrumental, game and "
            "electronic music with little singing; the hearing aids of the training amplify by NAL-R, and do nothing "
            "else apart from the listed conditions"
        ),
        "fit": dict(config),
        "again": again,
        **({"pretrained": PRETRAINED} if model_family == "small" else {}),
    }


def main() -> None:
    """Write the page and the plots of bundles again, from their `card.json`."""
    parser = argparse.ArgumentParser(prog="python -m haaqi_edge.training.card", description=main.__doc__)
    parser.add_argument(
        "bundles", nargs="+", type=Path, help="folders of bundles, trained on label tables or quantized"
    )
    for bundle in parser.parse_args().bundles:
        write_model_card(bundle)


if __name__ == "__main__":
    main()
