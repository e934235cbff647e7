"""Plot the scores of a file over time, below its spectrogram. It needs librosa and matplotlib (extra `plot`)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..runtime.bundle import HAAQI
from ..runtime.errors import OptionError
from ..runtime.files import display_name
from ..runtime.writing import check_file, replace_atomically
from .console import require

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..runtime.audio.channels import Channel
    from ..runtime.scores import Score

_FFT: Final = 1_024
_MIN_HOP: Final = 256
_MAX_COLUMNS: Final = 1_600
"""Maximum number of columns of a spectrogram: about one per pixel."""
_RANGE_DB: Final = 80.0
_DPI: Final = 120


def check_plot(path: Path, files: Sequence[Path]) -> None:
    """Raise an error unless the scores of these files can be plotted to a path.

    Raises:
        OptionError: if there is more than one file, if it is a pipe, or if the path is no PNG file or not writable.
        DependencyError: if librosa or matplotlib is missing.
    """
    from ..runtime.audio.reading import is_pipe

    if path.suffix.lower() != ".png":
        raise OptionError(f"--plot {display_name(path)}: give the path of a PNG file, such as scores.png")
    if len(files) != 1:
        raise OptionError(f"--plot shows one file, and there are {len(files)}: score them one by one")
    if is_pipe(files[0]):
        raise OptionError("--plot reads the file a second time, which a pipe cannot be: give a file")
    check_file(path)
    require("plot", "librosa", "matplotlib")


def save_score_plot(file: Path, scores: Sequence[Score], channel: Channel, path: Path) -> None:
    """Save a PNG file with the spectrogram of a file, and a panel per listener with the score over time.

    A panel shows the score of each patch, and the score of each window with its prediction interval, if there is one.

    Args:
        file: the file that was scored.
        scores: one score per listener.
        channel: the channel that was scored.
        path: the PNG file. It is written completely or not at all.
    """
    import librosa.display
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from ..runtime.features.patches import SAMPLE_RATE

    end = scores[0].windows[-1].end
    spectrum, hop = compute_spectrogram(file, channel, end)
    figure = Figure(figsize=(10, 3 + 1.7 * len(scores)), layout="constrained")
    panels = figure.subplots(
        1 + len(scores), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": [1.6, *[1.0] * len(scores)]}
    )[:, 0]
    image = librosa.display.specshow(
        spectrum, sr=SAMPLE_RATE, hop_length=hop, n_fft=_FFT, x_axis="time", y_axis="log", cmap="magma", ax=panels[0]
    )
    figure.colorbar(image, ax=panels[0], format="%+2.0f dB", pad=0.01)
    panels[0].set(ylim=(50, SAMPLE_RATE / 2), xlabel="")
    panels[0].set_title(display_name(file.name), parse_math=False)
    for panel, score in zip(panels[1:], scores, strict=True):
        _draw_listener(panel, score)
    panels[-1].set(xlabel="time in s", xlim=(0, end))
    FigureCanvasAgg(figure)
    with replace_atomically(path) as part, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(part, format="png", dpi=_DPI)


def compute_spectrogram(file: Path, channel: Channel, seconds: float) -> tuple[npt.NDArray[Any], int]:
    """Compute the spectrogram of a file at 16 kHz. The memory that it needs does not depend on the file's length.

    Args:
        file: the file.
        channel: the channel.
        seconds: length of the file. Longer files have fewer frames per second.

    Returns:
        Levels relative to the maximum in dB, float32 [frequencies, frames], and the number of samples from one frame
        to the next.
    """
    import librosa
    import numpy as np

    from ..runtime.audio.reading import open_audio
    from ..runtime.features.patches import SAMPLE_RATE

    hop = max(_MIN_HOP, int(seconds * SAMPLE_RATE / _MAX_COLUMNS))
    window = np.hanning(_FFT).astype(np.float32)
    columns: list[npt.NDArray[Any]] = []
    held, skip = np.zeros(_FFT // 2, np.float32), 0  # frames are centred
    for block in open_audio(file, channel=channel).blocks():
        held = np.concatenate([held, block])
        dropped = min(skip, len(held))
        held, skip = held[dropped:], skip - dropped
        while len(held) >= _FFT:
            columns.append(np.abs(np.fft.rfft(held[:_FFT] * window)).astype(np.float32))
            skip = max(0, hop - len(held))
            held = held[hop:]
    if not columns:
        columns.append(np.zeros(_FFT // 2 + 1, np.float32))
    levels: npt.NDArray[Any] = librosa.amplitude_to_db(np.stack(columns, axis=1), ref=np.max, top_db=_RANGE_DB)
    return levels, hop


def _draw_listener(panel: Any, score: Score) -> None:
    """Draw the score over time for one listener."""
    values = score.scale.of_score
    panel.plot(score.times, [values(float(v)) for v in score.frame_scores], color="tab:blue", linewidth=1)
    label: str | None = "prediction interval"
    for window in score.windows:
        if window.score is None:
            continue
        panel.hlines(values(window.score), window.start, window.end, color="tab:orange", linewidth=2)
        if window.interval is not None:
            low, high = (values(bound) for bound in window.interval)
            panel.fill_between([window.start, window.end], low, high, color="tab:orange", alpha=0.2, label=label)
            label = None
    name = "score" if score.scale == HAAQI else score.scale.name
    panel.set(ylim=(values(0.0), values(1.0)), ylabel=name)
    title = f"{score.audiogram.name}: {score.value:.3f}"
    if score.interval is not None:
        low, high = (values(bound) for bound in score.interval)
        title += f" ({low:.3f} to {high:.3f})"
        panel.legend(loc="lower right", fontsize="small")
    panel.set_title(title, fontsize="medium", loc="left", parse_math=False)
    panel.grid(alpha=0.3)
