"""Recognize what a file is by its first bytes. Suffixes do not count."""

from __future__ import annotations

from typing import Final

from .adts import frame_length
from .mpeg import parse_frame

FFMPEG_ONLY: Final = {
    "mp4": "an MPEG-4 file (AAC or ALAC)",
    "matroska": "a Matroska or WebM file",
    "asf": "a Windows Media file (wma)",
    "wavpack": "a WavPack file",
    "adts": "an AAC stream (ADTS)",
    "ape": "a Monkey's Audio file",
    "tta": "a True Audio file",
    "musepack": "a Musepack file",
    "dsd": "a DSD file",
    "amr": "an AMR file",
    "avi": "an AVI file",
    "flv": "a Flash video",
    "realmedia": "a RealMedia file",
    "ac3": "an AC-3 stream",
    "dts": "a DTS stream",
    "mpegts": "an MPEG transport stream",
    "voc": "a Creative Voice file",
    "sox": "a SoX file",
}
"""What FFmpeg reads and libsndfile does not, by the names of `recognize`."""

_FOREIGN: Final = (
    (b"MThd", "MIDI, notes without sound"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a rar archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"SQLite", "a database"),
    (b"<!DOCTYPE", "a web page: the download may have failed"),
    (b"<!doctype", "a web page: the download may have failed"),
    (b"<html", "a web page: the download may have failed"),
    (b"<?xml", "an XML document"),
    (b"#EXTM3U", "a playlist (m3u)"),
    (b"[playlist]", "a playlist (pls)"),
    (b"version https://git-lfs", "a Git LFS pointer: run `git lfs pull`"),
    (b"\x93NUMPY", "a NumPy array: load it and pass (samples, rate)"),
)
_MP4_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"wide", b"skip", b"free", b"pnot")


def recognize(head: bytes) -> str:
    """Return the kind of a file.

    Args:
        head: the first bytes behind any ID3v2 tag, 64 or more unless the file is shorter.

    Returns:
        `riff`, `wave64`, `aiff`, `iff`, `flac`, `ogg`, `mpeg`, `au`, `caf`, `nist`, a key of `FFMPEG_ONLY`, or an empty
        string if the bytes are not recognized. `mpeg` is tentative: four random bytes may look like a frame.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        return "riff"
    if head[:4] == b"FORM":
        return "iff" if head[8:12] in (b"8SVX", b"16SV", b"MAUD") else "aiff"
    if head[:8] == b"FRM8\0\0\0\0" or head[:4] == b"DSD " or head[12:16] == b"DSD ":
        return "dsd"
    for magic, kind in _MAGICS:
        if head.startswith(magic):
            return kind
    if head[4:8] in _MP4_BOXES:
        return "mp4"
    if head[:2] == b"\x0b\x77":
        return "ac3"
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return "mpegts"
    if len(head) >= 7 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0 and head[2] >> 2 & 15 < 13:
        return "adts"
    return "mpeg" if parse_frame(head[:4]) is not None else ""


_FRAMES: Final = 4
"""Number of frames in a row that show that bytes are MPEG audio or AAC."""
UNCERTAIN: Final = ("mpeg", "adts", "ac3", "mpegts")
"""Kinds of which the signature is too short to be certain."""
_MIN_BYTES: Final = 8
"""Number of bytes that contain a signature."""
_NAMES: Final = {
    "riff": "a wav file", "wave64": "a Wave64 file", "aiff": "an aiff file", "iff": "an IFF file",
    "flac": "a FLAC file", "ogg": "an Ogg file", "au": "an AU file", "caf": "a CAF file", "nist": "a NIST file",
}  # fmt: skip


def name_of_file(head: bytes) -> str | None:
    """Return what kind of audio file bytes begin with, or an empty string if they are raw samples.

    Args:
        head: the first bytes.

    Returns:
        For example `a wav file`; None if more bytes are needed.
    """
    if len(head) < _MIN_BYTES:
        return None
    if head[:3] == b"ID3" and head[3] < 0xFF:
        return "an mp3 file"
    kind = recognize(head)
    if kind and kind not in UNCERTAIN:
        return _NAMES.get(kind) or FFMPEG_ONLY[kind]
    if kind not in ("mpeg", "adts"):
        return ""
    at = 0
    for _ in range(_FRAMES):
        if len(head) < at + 7:
            return None
        if kind == "adts":
            length = frame_length(head[at : at + 7])
        else:
            frame = parse_frame(head[at : at + 4])
            length = frame.length if frame else 0
        if not length:
            return ""
        at += length
    return FFMPEG_ONLY["adts"] if kind == "adts" else "an mp3 file"


_MAGICS: Final = (
    (b"fLaC", "flac"),
    (b"OggS", "ogg"),
    (b"riff\x2e\x91\xcf\x11", "wave64"),
    (b".snd", "au"),
    (b"dns.", "au"),
    (b"caff", "caf"),
    (b"NIST_1A", "nist"),
    (b"\x1aE\xdf\xa3", "matroska"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (b"wvpk", "wavpack"),
    (b"MAC ", "ape"),
    (b"TTA1", "tta"),
    (b"TTA2", "tta"),
    (b"MPCK", "musepack"),
    (b"MP+", "musepack"),
    (b"#!AMR", "amr"),
    (b"Creative Voice File", "voc"),
    (b".SoX", "sox"),
    (b"XoS.", "sox"),
    (b"FLV\x01", "flv"),
    (b".RMF", "realmedia"),
    (b"\x7f\xfe\x80\x01", "dts"),
)


def foreign(head: bytes) -> str:
    """Return what a file is that holds no audio, or an empty string if it is not recognized."""
    return next((what for magic, what in _FOREIGN if head.startswith(magic)), "")
