"""Draws: chains that the grammar knows, spread as the plan says; what is held out stays out of what is seen."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from excerpts import Excerpt
from haaqi_edge.training.degradations import CONDITIONS, STUDIES, chain_of, degrade, parse_chain
from haaqi_edge.training.degradations.sampling import (
    HELD_OUT,
    RANGES,
    family,
    from_studies,
    is_unseen,
    random_chain,
    redrawn,
)


def names_of(chain: str) -> list[str]:
    return [entry.name for entry, _ in parse_chain(chain)]


@pytest.fixture(scope="module")
def seen() -> list[str]:
    rng = np.random.default_rng(1)
    return [random_chain(rng) for _ in range(6_000)]


@pytest.fixture(scope="module")
def unseen() -> list[str]:
    rng = np.random.default_rng(2)
    return [random_chain(rng, unseen=True) for _ in range(2_200)]


def test_every_condition_has_ranges() -> None:
    assert RANGES.keys() == CONDITIONS.keys()
    for name, draws in RANGES.items():
        assert draws.keys() == CONDITIONS[name].limits.keys()


def test_the_seen_never_hold_what_is_held_out(seen: list[str]) -> None:
    for chain in seen:
        names = set(names_of(chain))
        assert not names & {"opus", "ringing"}
        assert not (names & {"music_babble", "babble_subtraction"} and names & {"compress", "wdrc"})
        assert not ("resonance" in names and names & {"lowpass", "bandpass", "resample"})
        assert not is_unseen(chain)
        assert family(chain) not in HELD_OUT


def test_the_unseen_are_eleven_kinds_each_as_likely(unseen: list[str]) -> None:
    assert all(map(is_unseen, unseen))
    counts = Counter(map(family, unseen))
    assert counts.keys() == HELD_OUT.keys()
    assert len(counts) == 11
    assert min(counts.values()) > 150
    assert max(counts.values()) < 260
    for kind in ("opus", "ringing"):
        chains = [names_of(chain) for chain in unseen if family(chain) == kind]
        assert all(names[-1] == kind for names in chains)
        assert {len(names) for names in chains} == {1, 2}
        assert 0.4 < np.mean([len(names) == 1 for names in chains]) < 0.6
        assert not {"opus", "ringing"} & {names[0] for names in chains if len(names) == 2}
    assert all(from_studies(chain) for chain in unseen if family(chain) not in {"opus", "ringing"})


def test_the_seen_are_spread_as_planned(seen: list[str]) -> None:
    counts = np.bincount([len(names_of(chain)) for chain in seen]) / len(seen)
    np.testing.assert_allclose(counts, [0.05, 0.55, 0.32, 0.08], atol=0.02)
    used = Counter(name for chain in seen for name in names_of(chain))
    assert used.keys() == CONDITIONS.keys() - {"opus", "ringing"}
    assert min(used[name] for name in STUDIES) > 350
    assert min(used.values()) > 120
    # Half are of the studies by design; so are more than half of the others' conditions.
    assert 0.65 < np.mean([from_studies(chain) for chain in seen]) < 0.85
    families = Counter(map(family, seen))
    assert {"clean", "combination", "tilt up", "tilt down", "resonance", "resonances"} <= families.keys()
    assert "tilt" not in families


def test_links_come_in_order_and_once(seen: list[str]) -> None:
    last = ["resample", "mp3", "vorbis", "dropouts"]
    found: set[str] = set()
    for chain in seen:
        names = names_of(chain)
        assert len(set(names)) == len(names)
        places = [last.index(name) if name in last else -1 for name in names]
        assert places == sorted(places) or max(places[:-1]) < 0
        found.update(name for name, place in zip(names[1:], places[1:], strict=True) if place >= 0)
    assert found == set(last)


def test_a_drawn_chain_survives_being_written_down(seen: list[str], unseen: list[str]) -> None:
    for chain in seen[:500] + unseen[:100]:
        assert chain_of(*((entry.name, parameters) for entry, parameters in parse_chain(chain))) == chain


def test_parameters_go_from_mild_to_severe(seen: list[str]) -> None:
    for name, key, low, high in (("noise", "snr", -3, 38), ("lowpass", "hz", 600, 8_000), ("mp3", "kbps", 8, 56)):
        values = [p[key] for chain in seen for entry, p in parse_chain(chain) if entry.name == name]
        assert min(values) <= low
        assert max(values) >= high


def test_drawn_chains_can_be_heard(seen: list[str], unseen: list[str], excerpt: Excerpt) -> None:
    samples = excerpt.samples[:24_000]
    for seed, chain in enumerate(seen[:60] + unseen[:20]):
        got = degrade(samples, excerpt.rate, chain, seed)
        assert np.isfinite(got).all()
        assert np.sqrt(np.mean(got**2)) == pytest.approx(np.sqrt(np.mean(samples**2)), rel=1e-9)


def test_a_redrawn_chain_has_the_same_conditions_in_other_strengths(seen: list[str]) -> None:
    rng, changed = np.random.default_rng(5), 0
    for chain in filter(None, seen[:300]):
        other = redrawn(rng, chain)
        assert names_of(other) == names_of(chain)
        changed += other != chain
        assert not is_unseen(other)
    assert changed > 250  # some have few values
    assert redrawn(rng, "") == ""


def test_the_same_generator_draws_the_same_chains() -> None:
    first, second, third = ([random_chain(rng) for _ in range(20)] for rng in map(np.random.default_rng, (1, 1, 2)))
    assert first == second != third


BABBLE, COMPRESSED = "music_babble(snr=5)", "compress(ratio=3,attack=5,release=50)"


@pytest.mark.parametrize(
    ("chain", "kind", "held_out", "studied"),
    [
        ("", "clean", False, True),
        ("noise(snr=3)", "noise", False, True),
        ("tilt(slope=3)", "tilt up", False, True),
        ("tilt(slope=-3)", "tilt down", False, True),
        ("resonance(hz=500,gain=6,peaks=1)", "resonance", False, True),
        ("resonance(hz=500,gain=6,peaks=3)", "resonances", False, True),
        ("noise(snr=3)|lowpass(hz=3000)", "combination", False, True),
        ("noise(snr=3)|mp3(kbps=16)", "combination", False, False),
        ("mp3(kbps=16)", "mp3", False, False),
        (f"{BABBLE}|{COMPRESSED}", "babble + compression", True, True),
        (f"{COMPRESSED}|{BABBLE}", "babble + compression", True, True),
        (f"babble_subtraction(snr=5,over=2)|{COMPRESSED}", "babble subtraction + compression", True, True),
        ("resonance(hz=500,gain=6,peaks=3)|lowpass(hz=3000)", "resonance + low-pass", True, True),
        (f"{BABBLE}|{COMPRESSED}|lowpass(hz=3000)", "babble + compression + low-pass", True, True),
        (f"{BABBLE}|{COMPRESSED}|highpass(hz=300)", "babble + compression + high-pass", True, True),
        (f"{BABBLE}|{COMPRESSED}|tilt(slope=2)", "babble + compression + tilt up", True, True),
        (f"{BABBLE}|{COMPRESSED}|tilt(slope=-2)", "babble + compression + tilt down", True, True),
        (f"{BABBLE}|{COMPRESSED}|resonance(hz=500,gain=6,peaks=1)", "babble + compression + resonance", True, True),
        (f"{BABBLE}|{COMPRESSED}|resonance(hz=500,gain=6,peaks=3)", "babble + compression + resonances", True, True),
        ("opus(kbps=12)", "opus", True, False),
        ("noise(snr=3)|ringing(hz=2000,gain=1)", "ringing", True, False),
    ],
)
def test_families(chain: str, kind: str, held_out: bool, studied: bool) -> None:
    assert family(chain) == kind
    assert is_unseen(chain) == held_out
    assert from_studies(chain) == studied
