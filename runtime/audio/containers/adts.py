"""AAC in ADTS frames: whether all frames are there. FFmpeg decodes them, and plays what is left of a damaged file.

Source: ISO/IEC 14496-3, 1.A.2.
"""

from __future__ import annotations

from .byte_source import ByteSource, Layout
from .parts import Findings, Part
from .tags import skip_tags, trim_tags

_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_FRAME_SAMPLES = 1024
_MAX_GARBAGE = 16_384


def inspect_adts(source: ByteSource, start: int, stop: int, findings: Findings) -> list[Part]:
    """Find the frames of an AAC stream.

    Args:
        source: the file.
        start: offset of the first frame.
        stop: end of the file.
        findings: takes notes and damage.

    Raises:
        AudioFileError: if a frame is corrupt or the end is missing.
    """
    stop = trim_tags(source, start, stop)
    at, blocks, rate, layout = skip_tags(source, start, stop), 0, 1, Layout()
    while at < stop:
        head = source.get(at, 7)
        length = frame_length(head)
        if not length:
            if stop - at > _MAX_GARBAGE or _find_frame(source, at, stop):
                findings.damaged("a frame is corrupt", blocks * _FRAME_SAMPLES / rate)
            findings.note(f"{stop - at} bytes behind the last frame were skipped")
            break
        rate = _RATES[head[2] >> 2 & 15]
        if at + length > stop:
            time = blocks * _FRAME_SAMPLES / rate
            findings.truncated(f"its last frame, at {time:.2f} s, announces {length} bytes and {stop - at} are there")
            break
        layout.add_range(at, at + length)
        blocks += 1 + (head[6] & 3)
        at += length
    if not blocks:
        raise findings.unreadable("it has no AAC frames")
    return [Part(layout, "ffmpeg")]


def frame_length(head: bytes) -> int:
    """Return the length of the frame that begins with these 7 bytes, or 0 if none does."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 >= len(_RATES):
        return 0
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return length if length > 7 else 0


def _find_frame(source: ByteSource, start: int, stop: int) -> bool:
    """Return whether two frames in a row follow somewhere."""
    data = source.get(start, stop - start)
    at = data.find(0xFF)
    while at >= 0:
        length = frame_length(data[at : at + 7])
        if length and frame_length(data[at + length : at + length + 7]):
            return True
        at = data.find(0xFF, at + 1)
    return False
