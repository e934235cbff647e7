"""Results reported by the papers, for comparison with measured ones.

Source: HAAQI-Net (Wisnu et al., arXiv 2401.01145), abstract and Tables II and IV.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Accuracy(NamedTuple):
    """Agreement with HAAQI on the authors' own test set."""

    model: str
    lcc: float
    srcc: float
    mse: float
    table: str


ACCURACY: Final = (
    Accuracy("teacher, weighted sum + adapter", 0.9456, 0.9603, 0.0055, "II"),
    Accuracy("teacher, last layer + adapter", 0.9368, 0.9486, 0.0064, "II"),
    Accuracy("spectrogram in place of BEATs", 0.6701, 0.7084, 0.0301, "II"),
    Accuracy("student, adaptive loss, weighted sum", 0.9151, 0.9331, 0.0083, "IV"),
    Accuracy("student, adaptive loss", 0.9071, 0.9307, 0.0091, "IV"),
)
PARAMETERS_SAVED: Final = 75.85
"""percent by which the student has fewer parameters than the teacher"""
TIME_SAVED: Final = 96.46
"""percent by which the student takes less time than the teacher; hardware and clip length are not reported"""
BEST_LEVEL: Final = 65.0
"""dB SPL at which the prediction is most accurate"""
