"""Write the files for the table of malformed inputs."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import soundfile
import torch
from haaqi_edge.model import Nano, Student, Teacher
from haaqi_edge.runtime import Bundle
from numpy.typing import NDArray
from torch import Tensor

SHIPPED = Bundle("nano").folder
RATE = 16_000


def write_all(d: Path) -> None:
    """Write every malformed file, and some good ones, into a folder."""
    (d / "noaudio").mkdir()
    (d / "noaudio" / "notes.md").write_text("nothing to hear\n")
    (d / "noaudio.csv").mkdir()
    for write in (_write_audio, _write_audiograms, _write_bundles, _write_checkpoints, _write_corpora):
        write(d)


def noise(seconds: float, rate: int = RATE) -> NDArray[np.float32]:
    """Return white noise, float32 [n]."""
    return 0.1 * np.random.default_rng(0).standard_normal(int(seconds * rate)).astype(np.float32)


def _write_audio(d: Path) -> None:
    good = noise(3)
    for suffix in ("wav", "flac", "ogg", "opus", "mp3"):
        path = d / f"cut.{suffix}"
        if suffix == "opus":
            soundfile.write(path, good, RATE, format="OGG", subtype="OPUS")
        else:
            soundfile.write(path, good, RATE)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    soundfile.write(d / "good.wav", good[:RATE], RATE)
    (d / "cuthead.wav").write_bytes((d / "good.wav").read_bytes()[:30])
    soundfile.write(d / "minute.wav", noise(61, 8_000), 8_000)
    soundfile.write(d / "long.wav", noise(121, 8_000), 8_000)
    soundfile.write(d / "tiny.wav", good[:2_400], RATE)
    for folder, name in (("pairs", "a"), ("others", "b")):
        (d / folder).mkdir()
        soundfile.write(d / folder / f"{name}.wav", good[:RATE], RATE)
    (d / "empty.wav").write_bytes(b"")
    soundfile.write(d / "headonly.wav", good[:0], RATE)
    for name, value, at in (("nan", math.nan, 0.125), ("inf", -math.inf, 0.25), ("latenan", math.nan, 6.0)):
        bad = noise(7)
        bad[int(at * RATE)] = value
        soundfile.write(d / f"{name}.wav", bad, RATE, subtype="FLOAT")
    soundfile.write(d / "short.wav", good[:2799], RATE)
    soundfile.write(d / "short44.wav", good[: 2799 * 441 // 160], 44_100)
    soundfile.write(d / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(d / "silent44.flac", np.zeros((44_100, 2)), 44_100)
    soundfile.write(d / "cancelling.wav", np.stack([good, -good], axis=1), RATE, subtype="FLOAT")
    for rate in (4000, 7999):
        soundfile.write(d / f"rate{rate}.wav", good, rate)
    (d / "text.wav").write_text("This is not a sound.\n" * 100)
    (d / "random.mp3").write_bytes(np.random.default_rng(1).bytes(20_000))
    (d / "picture.flac").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))


def _write_audiograms(d: Path) -> None:
    (d / "blank.csv").write_text("\n\n")
    (d / "three.csv").write_text("250,20,left\n500,30,left\n")
    (d / "words.csv").write_text("Hz,dB\n250,mild\n500,severe\n")
    (d / "one.csv").write_text("250,20\n")
    (d / "twice.csv").write_text("250,20\n250,30\n1000,40\n")
    (d / "latin.csv").write_bytes("Fréquence,dB\n250,20\n500,30\n".encode("latin-1"))
    (d / "scalar.json").write_text("20")
    (d / "broken.json").write_text('{"250": 20,')


def _write_bundles(d: Path) -> None:
    card = json.loads((SHIPPED / "card.json").read_text(encoding="utf-8"))

    def make(name: str, **changes: Any) -> Path:
        """Write a copy of the shipped bundle with other values in its card. None removes a value."""
        made = d / name
        shutil.copytree(SHIPPED, made)
        kept = {key: value for key, value in (card | changes).items() if value is not None}
        (made / "card.json").write_text(json.dumps(kept))
        return made

    encoder, head = card["files"]["encoder"], card["files"]["head"]
    (make("notjson") / "card.json").write_text("name: nano")
    (make("latin1") / "card.json").write_bytes('{"name": "modèle"}'.encode("latin-1"))
    (make("list") / "card.json").write_text("[]")
    make("schema", format=2)
    make("unknown", colour="blue")
    make("missing", window=None)
    make("type", window="ten")
    make("bool", width=True)
    make("window", window=0.0)
    make("input", encoder_input="mp3")
    make("frontend", front_end=card["front_end"] | {"hop": 320})
    make("frequencies", audiogram_frequencies=[250, 500, 1000, 2000, 3000, 4000, 6000, 9000])
    make("entry", files={"encoder": "encoder.onnx", "head": head})
    make("path", files={"encoder": encoder | {"file": "../good/encoder.onnx"}, "head": head})
    make("headless", files={"encoder": encoder})
    (make("gone") / "head.onnx").unlink()
    altered = make("tampered") / "encoder.onnx"
    content = bytearray(altered.read_bytes())
    content[len(content) // 2] ^= 1
    altered.write_bytes(content)
    garbage = b"not a graph" * 100
    made = make("garbage", files={"encoder": encoder | {"sha256": hashlib.sha256(garbage).hexdigest()}, "head": head})
    (made / "encoder.onnx").write_bytes(garbage)
    make("disagrees", level1=65.0)
    make("swapped", files={"encoder": head, "head": encoder})
    make("otherinput", encoder_input="samples")


class _RunsCode:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        import os

        return os.system, (f"touch {self.marker}",)


def _write_checkpoints(d: Path) -> None:
    def blank(network: type[Student | Teacher]) -> dict[str, Tensor]:
        """Return all keys and shapes. Each tensor is an expanded zero, so that files stay small."""
        with torch.device("meta"):
            shapes = network().state_dict()
        return {key: torch.zeros(()).expand(tensor.shape) for key, tensor in shapes.items()}

    student, teacher = blank(Student), blank(Teacher)
    (d / "code.pth").write_bytes(pickle.dumps({"model": _RunsCode(d / "ran")}))
    torch.save({"model": _RunsCode(d / "ran")}, d / "codezip.pth")
    torch.save({"model": student}, d / "student.pth")
    (d / "cut.pth").write_bytes((d / "student.pth").read_bytes()[:5000])
    torch.save({"cfg": {}, "model": teacher}, d / "teacher.pth")
    prefix = "beats_model."
    beats = {key.removeprefix(prefix): value for key, value in teacher.items() if key.startswith(prefix)}
    torch.save({"cfg": {}, "model": beats}, d / "beats.pt")
    torch.save({"epoch": 3, "state": {}}, d / "optimizer.pth")
    torch.save(student | {"linear2.weight": torch.full((768, 512), math.nan)}, d / "nanvalue.pth")
    torch.save(student | {"linear2.weight": torch.zeros(768, 511)}, d / "shape.pth")
    nano = dict(Nano().state_dict())
    safetensors.torch.save_file(nano, d / "nano.safetensors")
    (d / "cut.safetensors").write_bytes((d / "nano.safetensors").read_bytes()[:50_000])
    safetensors.torch.save_file(nano | {"head.frame.bias": torch.tensor([math.nan])}, d / "nanonan.safetensors")
    del nano["head.frame.bias"]
    safetensors.torch.save_file(nano, d / "nanoless.safetensors")


def _write_corpora(d: Path) -> None:
    heading = "clip,split,source,genre,duration_s\n"
    for name, table in {
        "music": heading + "gone.flac,train,a,b,10\ngone.flac,valid,c,d,10\n",
        "columns": "clip,source,genre,duration_s\nx.flac,a,b,10\n",
        "splits": heading + "x.flac,dev,a,b,10\n",
        "durations": heading + "x.flac,train,a,b,long\n",
    }.items():
        (d / name).mkdir()
        (d / name / "CLIPS.csv").write_text(table)
    import pyarrow
    import pyarrow.parquet

    (d / "badtable").mkdir()
    (d / "badtable" / "train-0000.parquet").write_bytes(b"PAR1 no more")
    (d / "othertable").mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"clip": ["gone.flac"]}), d / "othertable" / "train-0000.parquet")
