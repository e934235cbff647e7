"""A small sound font for tests: one sine for all notes and programs, percussion included."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

RATE = 44_100


def write_sound_font(path: Path) -> Path:
    """Write a SoundFont 2 file whose one sample is a looped sine of 440 Hz at pitch 69."""
    period = RATE / 441  # whole, so that the loop closes; 441 Hz
    samples = (12_000 * np.sin(2 * np.pi * np.arange(40 * round(period)) / period)).astype("<i2")
    first, last = 10 * round(period), 30 * round(period)
    name = b"sine".ljust(20, b"\0")
    sample = struct.pack("<IIIIIBbHH", 0, len(samples), first, last, RATE, 69, 0, 0, 1)
    lists = {
        b"phdr": b"".join(name + struct.pack("<HHHIII", 0, bank, at, 0, 0, 0) for at, bank in enumerate((0, 128)))
        + b"EOP".ljust(20, b"\0")
        + struct.pack("<HHHIII", 0, 0, 2, 0, 0, 0),
        b"pbag": struct.pack("<HHHHHH", 0, 0, 1, 0, 2, 0),
        b"pmod": bytes(10),
        b"pgen": struct.pack("<HHHH", 41, 0, 41, 0) + bytes(4),
        b"inst": name + struct.pack("<H", 0) + b"EOI".ljust(20, b"\0") + struct.pack("<H", 1),
        b"ibag": struct.pack("<HH", 0, 0) + struct.pack("<HH", 2, 0),
        b"imod": bytes(10),
        b"igen": struct.pack("<HHHH", 54, 1, 53, 0) + bytes(4),
        b"shdr": name + sample + b"EOS".ljust(20, b"\0") + bytes(26),
    }
    info = _chunk(b"ifil", struct.pack("<HH", 2, 1)) + _chunk(b"isng", b"EMU8000\0") + _chunk(b"INAM", b"sine\0\0")
    data = _chunk(b"smpl", samples.tobytes() + bytes(92))
    body = b"sfbk" + _list(b"INFO", info) + _list(b"sdta", data)
    body += _list(b"pdta", b"".join(_chunk(key, value) for key, value in lists.items()))
    path.write_bytes(_chunk(b"RIFF", body))
    return path


def _chunk(key: bytes, data: bytes) -> bytes:
    return key + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _list(key: bytes, data: bytes) -> bytes:
    return _chunk(b"LIST", key + data)
