"""Bundles: a card that survives the round trip, and no tampering that goes unnoticed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from haaqi_edge.runtime import Bundle, Card, Scorer, shipped_models
from haaqi_edge.runtime.bundle import File, FrontEnd, file_sha256
from haaqi_edge.runtime.errors import BundleError, BundleNotFoundError, HaaqiEdgeError
from haaqi_edge.runtime.features.front_ends import FEATURE_EXTRACTORS
from haaqi_edge.runtime.features.texture import VERSIONS
from haaqi_edge.runtime.session import Session
from hypothesis import given, settings
from hypothesis import strategies as st

WORD = st.text(max_size=12)
HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBER | WORD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORD, inner, max_size=4),
    max_leaves=8,
)
FREE = st.dictionaries(WORD, JSON, max_size=4)
PRECISIONS = st.sampled_from(["fp32", "fp16", "int8"])
CARDS = st.builds(
    Card,
    name=WORD,
    version=WORD,
    family=st.sampled_from(["nano", "student", "teacher"]),
    precision=PRECISIONS,
    streamable=st.booleans(),
    window=st.floats(0.16, 60) | st.integers(1, 60),
    level1=st.floats(0, 140),
    encoder_input=st.sampled_from(["fbank", "texture", "samples"]),
    tokens_per_patch=st.integers(1, 8),
    width=st.integers(1, 1000),
    parameters=st.integers(0),
    source_sha256=HEX,
    files=st.dictionaries(
        st.sampled_from(["encoder", "head", "fused"]),
        st.builds(File, file=WORD, format=WORD, precision=PRECISIONS, sha256=HEX),
    ),
    front_end=st.builds(FrontEnd, texture_version=st.sampled_from(VERSIONS)),
    figures=FREE,
    notes=FREE,
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The shipped nano in a folder that may be changed."""
    return shutil.copytree(Bundle("nano").folder, tmp_path / "copy")


def edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change the card of a bundle."""
    path = folder / "card.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    change(card)
    path.write_text(json.dumps(card), encoding="utf-8")
    return folder


def mend_checksums(folder: Path) -> None:
    """Make the card vouch for the files that are there, as somebody would who swaps one."""

    def change(card: dict[str, Any]) -> None:
        for entry in card["files"].values():
            entry["sha256"] = hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest()

    edited(folder, change)


@pytest.mark.slow
@given(card=CARDS)
@settings(max_examples=100, deadline=None)
def test_a_card_survives_the_round_trip(card: Card) -> None:
    text = card.to_json()
    again = Card.from_json(text, "the card")
    assert again == card
    assert again.to_json() == text
    assert text.endswith("}\n")
    assert again.front_end_name in FEATURE_EXTRACTORS
    assert ("texture_version" in text) == (card.front_end.texture_version != 1)


def test_the_shipped_model() -> None:
    assert "nano" in shipped_models()
    bundle = Bundle("nano")
    assert (bundle.card.name, bundle.card.family) == ("nano", "nano")
    assert bundle.card.streamable
    assert bundle.card.parameters <= 1_000_000
    assert set(bundle.card.files) >= {"encoder", "head"}
    text = (bundle.folder / "card.json").read_text(encoding="utf-8")
    assert Card.from_json(text, "card.json").to_json() == text
    for role, entry in bundle.card.files.items():
        assert bundle.path(role).parent == bundle.folder
        assert file_sha256(bundle.path(role)) == hashlib.sha256(bundle.path(role).read_bytes()).hexdigest()
        assert entry.sha256 == file_sha256(bundle.path(role))


def test_a_card_tells_the_version_of_its_texture(copy: Path) -> None:
    shipped = Bundle("nano").card
    assert shipped.front_end.texture_version == 2
    assert (shipped.encoder_input, shipped.front_end_name) == ("texture", "texture-2")
    assert shipped.metadata()["texture_version"] == "2"
    inside = dataclasses.replace(shipped, encoder_input="samples")
    assert inside.front_end_name == "samples"
    edited(copy, lambda card: card["front_end"].update(texture_version=1))
    first = Bundle(copy).card
    assert first.front_end_name == "texture"
    assert "texture_version" not in first.metadata()
    with pytest.raises(BundleError, match=r"the encoder of .*copy disagrees with its card on \['texture_version'\]"):
        Scorer(copy, threads=1)  # the graphs are of version 2
    edited(copy, lambda card: card["front_end"].update(texture_version=3))
    with pytest.raises(
        BundleError, match=r"texture_version=3.*texture_version one of 1, 2 and block from 1 to 64: update haaqi-edge"
    ):
        Bundle(copy)


def test_every_graph_carries_the_cards_metadata() -> None:
    bundle = Bundle("nano")
    card = bundle.card
    expected = {
        "name": card.name,
        "version": card.version,
        "family": card.family,
        "precision": "fp32",
        "sample_rate": "16000",
        "hop": "160",
        "patch": "16",
        "level1": "85",
        "audiogram_frequencies": "250,500,1000,2000,3000,4000,6000,8000",
        "source_sha256": card.source_sha256,
        "texture_version": "2",
        "interval": "0.9",
    }
    assert card.metadata() == expected
    for role in card.files:
        props = Session(bundle.path(role), threads=1).metadata
        assert {key: props.get(key) for key in expected} == expected


def test_a_copy_is_as_good(copy: Path) -> None:
    assert Bundle(copy).card == Bundle(str(copy)).card == Bundle("nano").card
    mend_checksums(copy)
    assert Bundle(copy).card == Bundle("nano").card


@pytest.mark.parametrize("name", ["no-such-model", "", "x" * 5000, "a\0b", "nano/card.json", "../nano"])
def test_what_is_no_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleNotFoundError, match=r"is not a model: .*give the folder of a bundle.*nano") as info:
        Bundle(name)
    assert isinstance(info.value, HaaqiEdgeError)
    assert isinstance(info.value, FileNotFoundError)
    with pytest.raises(BundleNotFoundError):
        Scorer(name)


def test_a_folder_without_a_card(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match=r"it has no card\.json"):
        Bundle(tmp_path)


def test_a_role_that_the_bundle_lacks() -> None:
    with pytest.raises(BundleError, match=r"has no 'fused': it holds encoder, head"):
        Bundle("nano").path("fused")


@pytest.mark.parametrize("role", ["encoder", "head"])
@pytest.mark.parametrize("damage", ["flipped", "longer", "shorter", "empty"])
def test_an_altered_file(role: str, damage: str, copy: Path) -> None:
    path = Bundle(copy).path(role)
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    path.write_bytes({"flipped": data, "longer": data + b"\0", "shorter": data[:-1], "empty": b""}[damage])
    message = (
        rf"{role}\.onnx does not match the SHA-256 in card\.json: it was altered or damaged; copy or export it again"
    )
    with pytest.raises(BundleError, match=message):
        Bundle(copy)
    with pytest.raises(BundleError, match=message):
        Scorer(copy)


@pytest.mark.parametrize("role", ["encoder", "head"])
def test_a_missing_file(role: str, copy: Path) -> None:
    Bundle(copy).path(role).unlink()
    with pytest.raises(
        BundleError, match=rf"{role}\.onnx, the {role} of the bundle, is missing: copy the whole folder"
    ):
        Bundle(copy)


@pytest.mark.parametrize("name", ["../copy/head.onnx", "sub/head.onnx", "/etc/hostname", "./head.onnx", "", ".", ".."])
def test_file_names_that_leave_the_folder(name: str, copy: Path) -> None:
    (copy / "sub").mkdir()
    shutil.copy(copy / "head.onnx", copy / "sub" / "head.onnx")
    edited(copy, lambda card: card["files"]["head"].update(file=name))
    with pytest.raises(BundleError, match=r"expected a plain name|is missing"):
        Bundle(copy)
    if name.count("/"):
        with pytest.raises(BundleError, match="expected a plain name"):
            Bundle(copy)


def test_a_file_that_names_a_whole_folder(copy: Path) -> None:
    (copy / "folder").mkdir()
    edited(copy, lambda card: card["files"]["head"].update(file="folder"))
    with pytest.raises(BundleError, match="is missing"):
        Bundle(copy)


def test_a_file_name_that_no_system_takes(copy: Path) -> None:
    for name in ("x" * 5000, "a\0b"):
        edited(copy, lambda card, name=name: card["files"]["head"].update(file=name))
        with pytest.raises(BundleError, match="is missing"):
            Bundle(copy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("1" * 5000, "is not JSON"),
        ("null", "has the schema None"),
        ("[]", r"has the schema \[\]"),
        ("{}", "has the schema None, this version reads 1: export it again"),
        ('{"format": 2}', "has the schema 2, this version reads 1"),
        ('{"format": 1}', "missing .*'name'"),
    ],
)
def test_cards_that_are_none(text: str, message: str, copy: Path) -> None:
    (copy / "card.json").write_text(text)
    with pytest.raises(BundleError, match=rf"card\.json.*{message}"):
        Bundle(copy)


def test_a_card_that_is_not_text(copy: Path) -> None:
    (copy / "card.json").write_bytes(b"\x80\x81")
    with pytest.raises(BundleError, match=r"cannot read .*card\.json"):
        Bundle(copy)


REQUIRED = [f.name for f in dataclasses.fields(Card) if f.name not in ("front_end", "audiogram_frequencies")][:13]


@pytest.mark.parametrize("key", REQUIRED)
def test_a_key_that_is_missing(key: str, copy: Path) -> None:
    edited(copy, lambda card: card.pop(key))
    with pytest.raises(BundleError, match=rf"missing \['{key}'\], unknown \[\]: export the bundle again"):
        Bundle(copy)


def test_a_key_that_nobody_knows(copy: Path) -> None:
    edited(copy, lambda card: card.update(mood="good"))
    with pytest.raises(BundleError, match=r"unknown \['mood'\]"):
        Bundle(copy)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 5),
        ("precision", None),
        ("streamable", 1),
        ("streamable", "yes"),
        ("window", "10"),
        ("window", True),
        ("level1", None),
        ("encoder_input", "waveform"),
        ("encoder_input", 3),
        ("width", 200.0),
        ("width", True),
        ("parameters", "many"),
        ("source_sha256", 0),
        ("files", []),
        ("files", {"head": "head.onnx"}),
        ("files", {"head": {"file": "head.onnx"}}),
        ("files", {"head": {"file": 1, "format": "onnx", "precision": "fp32", "sha256": ""}}),
        ("front_end", []),
        ("front_end", {"hop": 80}),
        ("front_end", {"hop": "160"}),
        ("front_end", {"window": "hann"}),
        ("front_end", {"texture_version": 3}),
        ("front_end", {"texture_version": 0}),
        ("front_end", {"texture_version": True}),
        ("front_end", {"texture_version": "2"}),
        ("audiogram_frequencies", [250, 500]),
        ("audiogram_frequencies", 8),
        ("audiogram_frequencies", [8000, 6000, 4000, 3000, 2000, 1000, 500, 250]),
        ("figures", []),
        ("notes", "none"),
        ("format", True),
        ("format", 1.5),
    ],
)
def test_a_value_that_cannot_be(key: str, value: Any, copy: Path) -> None:
    edited(copy, lambda card: card.update({key: value}))
    with pytest.raises(BundleError, match=r"card\.json"):
        Bundle(copy)


@pytest.mark.slow
@given(key=st.sampled_from([f.name for f in dataclasses.fields(Card)]), value=JSON | st.just(math.nan))
@settings(max_examples=200, deadline=None)
def test_any_value_in_a_card_is_read_or_a_typed_error(key: str, value: Any) -> None:
    card = json.loads(Bundle("nano").card.to_json())
    card[key] = value
    try:
        got = Card.from_json(json.dumps(card), "the card")
    except BundleError:
        return
    assert isinstance(got, Card)


@pytest.mark.parametrize("role", ["encoder", "head"])
@pytest.mark.parametrize(
    ("key", "value"),
    [("source_sha256", "0" * 64), ("version", "99.0"), ("level1", "65"), ("name", "other"), ("hop", None)],
)
def test_a_file_of_another_bundle_vouched_for(role: str, key: str, value: str | None, copy: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = Bundle(copy).path(role)
    graph = onnx.load(path)
    props = {prop.key: prop.value for prop in graph.metadata_props}
    del graph.metadata_props[:]
    onnx.helper.set_model_props(
        graph, {k: v for k, v in (props | ({key: value} if value else {})).items() if value or k != key}
    )
    path.write_bytes(graph.SerializeToString())
    mend_checksums(copy)
    assert Bundle(copy).card.name == "nano", "the checksums alone are right"
    with pytest.raises(BundleError, match=rf"the {role} of .*copy disagrees with its card on \['{key}'\]"):
        Scorer(copy, threads=1)


def test_a_card_of_another_level_is_refused(copy: Path) -> None:
    edited(copy, lambda card: card.update(level1=65.0))
    with pytest.raises(BundleError, match=r"disagrees with its card on \['level1'\]"):
        Scorer(copy, threads=1)


@pytest.mark.parametrize("change", [{"encoder_input": "samples"}, {"width": 100}, {"tokens_per_patch": 8}])
def test_a_card_that_describes_other_graphs_is_refused(change: dict[str, Any], copy: Path) -> None:
    edited(copy, lambda card: (card.pop("familiarity"), card.update(change)))
    with pytest.raises(BundleError, match=r"the (encoder|head) of .*copy"):
        Scorer(copy, threads=1)


def test_head_and_encoder_swapped(copy: Path) -> None:
    def swap(card: dict[str, Any]) -> None:
        files = card["files"]
        files["encoder"], files["head"] = files["head"], files["encoder"]

    edited(copy, swap)
    with pytest.raises(BundleError, match=r"the encoder of .*copy"):
        Scorer(copy, threads=1)


@pytest.mark.parametrize("window", [0, -1, 0.1, 61, 1e9, math.nan, math.inf])
def test_a_card_with_a_window_that_cannot_be(window: float, copy: Path) -> None:
    edited(copy, lambda card: card.update(window=window))
    with pytest.raises(BundleError, match="window"):
        Bundle(copy)


@pytest.mark.parametrize("role", ["encoder", "head"])
def test_a_bundle_without_a_part_is_no_scorer(role: str, copy: Path) -> None:
    edited(copy, lambda card: card["files"].pop(role))
    with pytest.raises(BundleError, match=f"has no '{role}'"):
        Scorer(copy, threads=1)
