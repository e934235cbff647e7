"""What a network sees of a label table's row: the fbank patches of the presented sound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..runtime.audio import ArrayAudio
from ..runtime.fbank import patches
from .corpus import Corpus
from .labels import Row, present

Array = npt.NDArray[np.float32]


def row_patches(row: Row, corpus: Corpus) -> Array:
    """Float32 [patches, 16, 128] of a row's presented sound, resampled to 16 kHz as the runtime does it."""
    _, presented, rate = present(row, corpus)
    return patches(np.concatenate(list(ArrayAudio(presented, rate).blocks())))


class FeatureCache:
    """Patches of rows, computed in parallel once and kept in float16 on disk.

    Args:
        folder: where the arrays are kept; may be deleted at any time.
        corpus: the music.
        jobs: processes.
    """

    def __init__(self, folder: Path, corpus: Corpus, jobs: int) -> None:
        self.folder, self.corpus, self.jobs = folder, corpus, jobs

    def get(self, rows: Sequence[Row]) -> Array:
        """Float16 [rows, patches, 16, 128] of rows of one duration; float16 moves a feature by at most 0.002."""
        import joblib

        self.folder.mkdir(parents=True, exist_ok=True)
        paths = [self.folder / f"{row.split}-{row.seed}-{row.duration:g}.npy" for row in rows]
        todo = [(row, path) for row, path in zip(rows, paths, strict=True) if not path.exists()]
        joblib.Parallel(n_jobs=self.jobs)(joblib.delayed(_store)(row, path, self.corpus) for row, path in todo)
        return np.stack([np.load(path) for path in paths])


def _store(row: Row, path: Path, corpus: Corpus) -> None:
    part = path.with_suffix(".part.npy")
    np.save(part, row_patches(row, corpus).astype(np.float16))
    part.replace(path)
