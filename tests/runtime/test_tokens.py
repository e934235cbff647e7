"""Tokens: encoded once, whatever they are batched with, and scored for any number of listeners."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import TOLERANCE, assert_scores_equal, assert_tokens_equal
from haaqi_edge.runtime import Audiogram, Bundle, Scorer
from haaqi_edge.runtime.errors import OptionError
from haaqi_edge.runtime.features.front_ends import read_patches
from haaqi_edge.runtime.features.texture import textures
from haaqi_edge.runtime.onnx_backend import Encoder
from haaqi_edge.runtime.session import Session
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import DEMO, PATCH, RATE, READ, music, noise, samples_for

LISTENERS = ["NH", "N3", Audiogram.named("S2"), (20, 30, 40, 50, 60, 70, 70, 70)]


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer("nano", threads=1)


def test_encoded_once_and_scored_later(scorer: Scorer) -> None:
    tokens = scorer.encode(DEMO)
    assert tokens.encoded.tokens.shape == (124, scorer.card.tokens_per_patch, scorer.card.width)
    assert tokens.encoded.tokens.dtype == np.float32
    assert tokens.encoded.silent.shape == (124,)
    for window in ("default", 3.0, "whole"):
        for listener in LISTENERS:
            assert_scores_equal(
                scorer.score(tokens, listener, window=window), scorer.score(DEMO, listener, window=window), 1e-7
            )
    for a, b in zip(scorer.score(tokens, LISTENERS), scorer.score(DEMO, LISTENERS), strict=True):
        assert_scores_equal(a, b, 1e-7)


@pytest.mark.parametrize("options", [{"level1": 70.0}, {"spl": 65.0}])
def test_levels_are_encoded_too(scorer: Scorer, options: dict[str, float]) -> None:
    sound = (music(5, start=3), RATE)
    assert_scores_equal(scorer.score(scorer.encode(sound, **options), "N3"), scorer.score(sound, "N3", **options), 1e-7)
    assert not np.array_equal(scorer.encode(sound, **options).encoded.tokens, scorer.encode(sound).encoded.tokens)


def test_tokens_for_one_listener(scorer: Scorer) -> None:
    sound = (music(5, start=3), RATE)
    tokens = scorer.encode(sound, nal_r_for="N4")
    expected = scorer.score(sound, "N4", nal_r=True)
    assert_scores_equal(scorer.score(tokens, "N4"), expected, 1e-7)
    assert_scores_equal(scorer.score(tokens, Audiogram(Audiogram.named("N4").levels, "my left ear")), expected, 1e-7)
    for others in ("N3", ["N4", "N3"]):
        with pytest.raises(
            OptionError, match="were amplified for N4 and cannot be scored for N3: encode once for each"
        ):
            scorer.score(tokens, others)


def test_tokens_of_another_model(scorer: Scorer, tmp_path: Path) -> None:
    tokens = scorer.encode((music(2), RATE))
    with pytest.raises(OptionError, match="come from another model than nano: encode with this one"):
        scorer.score(dataclasses.replace(tokens, source_sha256="0" * 64), "N3")
    other = another_model(tmp_path / "other")
    assert_scores_equal(other.score(other.encode((music(2), RATE)), "N3"), scorer.score(tokens, "N3"), 0)
    with pytest.raises(OptionError, match="come from another model than other"):
        other.score(tokens, "N3")


def another_model(folder: Path) -> Scorer:
    """The shipped nano, claiming another checkpoint and name, all of it consistent."""
    onnx = pytest.importorskip("onnx")
    shutil.copytree(Bundle("nano").folder, folder)
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    card |= {"source_sha256": "f" * 64, "name": "other"}
    for entry in card["files"].values():
        graph = onnx.load(folder / entry["file"])
        props = {prop.key: prop.value for prop in graph.metadata_props}
        del graph.metadata_props[:]
        onnx.helper.set_model_props(graph, props | {"source_sha256": "f" * 64, "name": "other"})
        (folder / entry["file"]).write_bytes(graph.SerializeToString())
    for entry in card["files"].values():
        entry["sha256"] = hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest()
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return Scorer(folder, threads=1)


@pytest.mark.parametrize("options", [{"level1": 85}, {"spl": 65}, {"nal_r": True}])
def test_tokens_cannot_be_presented_again(scorer: Scorer, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="act before the encoder: give them to encode"):
        scorer.score(scorer.encode((music(2), RATE)), "N3", **options)


def test_a_patch_does_not_depend_on_its_batch(scorer: Scorer) -> None:
    sound = music(20) + noise(20 * RATE) * np.float32(0.001)
    together = scorer.encode((sound, RATE)).encoded.tokens
    for k in (0, 1, 17, 62, 63, 64, 65, 100, 123):
        alone = scorer.encode((sound[PATCH * k : PATCH * k + READ], RATE)).encoded.tokens
        assert alone.shape[0] == 1
        assert_tokens_equal(alone[0], together[k])


def test_blocks_of_any_length_are_encoded_alike(scorer: Scorer) -> None:
    encoder, sound = Encoder(Bundle("nano"), None, 1), np.tile(music(20), 2)
    expected = scorer.encode((sound, RATE)).encoded
    for step in (len(sound), samples_for(65), samples_for(64), 30_000, 1_000):
        parts = list(read_patches([sound[at : at + step] for at in range(0, len(sound), step)], "texture-2", 0.0))
        assert max(len(part.silent) for part in parts) <= 64
        tokens = np.concatenate([encoder.encode(part.features) for part in parts])
        assert tokens.shape == expected.tokens.shape
        assert_tokens_equal(tokens, expected.tokens)


@given(cuts=st.lists(st.integers(1, 60 * PATCH), min_size=1, max_size=6))
@settings(max_examples=10, deadline=None)
def test_tokens_do_not_depend_on_what_follows(scorer: Scorer, cuts: list[int]) -> None:
    sound = noise(60 * PATCH + READ)
    whole = scorer.encode((sound, RATE)).encoded.tokens
    for length in cuts:
        if length >= READ:
            got = scorer.encode((sound[:length], RATE)).encoded.tokens
            assert len(got) == 1 + (length - READ) // PATCH
            assert_tokens_equal(got, whole[: len(got)])


def test_a_score_is_what_the_graphs_give(scorer: Scorer) -> None:
    """Front end, encoder and head run by hand."""
    bundle, sound = Bundle("nano"), music(6, start=5)
    assert bundle.card.encoder_input == "texture"
    (tokens,) = Session(bundle.path("encoder"), threads=1).run(texture=textures(sound, version=2))
    assert_tokens_equal(scorer.encode((sound, RATE)).encoded.tokens, tokens)
    audiograms = np.stack([Audiogram.named(name).array() for name in ("N2", "S3")])
    head = Session(bundle.path("head"), threads=1)
    frames, values, _ = head.run(tokens=tokens.reshape(1, -1, tokens.shape[2]), audiogram=audiograms)
    for got, curve, value in zip(scorer.score((sound, RATE), ["N2", "S3"]), frames, values, strict=True):
        np.testing.assert_allclose(
            got.frame_scores, curve.reshape(len(tokens), -1).mean(axis=1), rtol=0, atol=TOLERANCE
        )
        assert got.score == pytest.approx(float(value), abs=TOLERANCE)
