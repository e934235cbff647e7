"""Draws: chains that the grammar knows, spread as the plan says; what is held out stays out of what is seen."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from excerpts import Excerpt
from haaqi_edge.training.degradations import DEGRADATIONS, STUDIES, degrade, format_chain, parse_chain
from haaqi_edge.training.degradations.sampling import (
    COUNTS,
    HELD_OUT,
    LAST,
    RANGES,
    STUDIED_SHARE,
    UNSEEN_FAMILIES,
    WEIGHTS,
    family,
    is_from_studies,
    is_unseen,
    random_chain,
    redraw_parameters,
)
from voices import Voices

TALK = {"babble", "talker", "speech_babble_subtraction"}
MUSIC_BABBLE = {"music_babble", "babble_subtraction"}


def names_of(chain: str) -> list[str]:
    return [entry.name for entry, _ in parse_chain(chain)]


@pytest.fixture(scope="module")
def seen() -> list[str]:
    rng = np.random.default_rng(1)
    return [random_chain(rng) for _ in range(8_000)]


@pytest.fixture(scope="module")
def unseen() -> list[str]:
    rng = np.random.default_rng(2)
    return [random_chain(rng, unseen=True) for _ in range(2_200)]


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_every_condition_has_ranges_within_its_limits(name: str) -> None:
    limits = DEGRADATIONS[name].limits
    assert RANGES[name].keys() == limits.keys()
    rng = np.random.default_rng(3)
    for _ in range(200):
        chain = format_chain((name, {key: draw(rng) for key, draw in RANGES[name].items()}))
        ((_, found),) = parse_chain(chain)  # refuses what is outside the limits
        assert all(limits[key][0] <= value <= limits[key][1] for key, value in found.items())


def test_there_are_ranges_of_conditions_alone() -> None:
    assert RANGES.keys() == DEGRADATIONS.keys()
    assert WEIGHTS.keys() | set(LAST) <= DEGRADATIONS.keys()
    assert min(WEIGHTS.values()) > 0


@pytest.mark.slow
def test_the_seen_never_hold_what_is_held_out(seen: list[str]) -> None:
    for chain in seen:
        names = set(names_of(chain))
        assert not names & {"opus", "crowd"}
        assert not (names & (TALK | MUSIC_BABBLE) and names & {"compress", "wdrc", "agc"})
        assert not ("resonance" in names and names & {"lowpass", "bandpass", "resample", "sbc"})
        assert not is_unseen(chain)
        assert family(chain) not in HELD_OUT


def test_the_unseen_are_eleven_kinds_each_as_likely(unseen: list[str]) -> None:
    assert UNSEEN_FAMILIES == ("opus", "crowd")
    assert all(map(is_unseen, unseen))
    counts = Counter(map(family, unseen))
    assert counts.keys() == HELD_OUT.keys()
    assert len(counts) == 11
    assert min(counts.values()) > 150
    assert max(counts.values()) < 260
    for kind in UNSEEN_FAMILIES:
        chains = [names_of(chain) for chain in unseen if family(chain) == kind]
        assert all(names[-1] == kind for names in chains)
        assert {len(names) for names in chains} == {1, 2}
        assert 0.4 < np.mean([len(names) == 1 for names in chains]) < 0.6
        assert not set(UNSEEN_FAMILIES) & {names[0] for names in chains if len(names) == 2}
    assert all(is_from_studies(chain) for chain in unseen if family(chain) not in UNSEEN_FAMILIES)


def test_the_babble_of_the_nine_combinations_is_people_talking(unseen: list[str]) -> None:
    combined = {kind: names for kind, names in HELD_OUT.items() if kind not in UNSEEN_FAMILIES}
    assert len(combined) == 9
    for chain in unseen:
        if (kind := family(chain)) in combined:
            assert names_of(chain) == list(combined[kind])
            assert ("babble" in kind) == bool(TALK & set(names_of(chain)))
            assert not MUSIC_BABBLE & set(names_of(chain))
    assert sum("babble" in kind for kind in combined) == 8


@pytest.mark.slow
def test_the_seen_are_spread_as_planned(seen: list[str]) -> None:
    counts = np.bincount([len(names_of(chain)) for chain in seen]) / len(seen)
    np.testing.assert_allclose(counts, COUNTS, atol=0.02)
    used = Counter(name for chain in seen for name in names_of(chain))
    assert used.keys() == DEGRADATIONS.keys() - set(UNSEEN_FAMILIES)
    assert used.most_common(1)[0][0] == "babble"
    assert used["babble"] > 1.3 * used.most_common(2)[1][1]
    assert min(used[name] for name in STUDIES - MUSIC_BABBLE) > 200
    assert min(used.values()) > 15
    # 45% are of the studies by design; so are about half of the others' conditions.
    assert STUDIED_SHARE + 0.05 < np.mean([is_from_studies(chain) for chain in seen]) < 0.85
    families = Counter(map(family, seen))
    assert {"clean", "combination", "tilt up", "tilt down", "resonance", "resonances"} <= families.keys()
    assert "tilt" not in families


def test_music_babble_is_a_few_percent(seen: list[str]) -> None:
    assert 0.01 < np.mean([bool(MUSIC_BABBLE & set(names_of(chain))) for chain in seen]) < 0.06


def test_single_conditions_are_as_frequent_as_their_weights(seen: list[str]) -> None:
    alone = Counter(names[0] for names in map(names_of, seen) if len(names) == 1)
    pools = DEGRADATIONS.keys() - set(UNSEEN_FAMILIES), STUDIES
    for name in pools[0]:
        shares = [
            WEIGHTS.get(name, 1.0) / sum(WEIGHTS.get(other, 1.0) for other in pool) if name in pool else 0.0
            for pool in pools
        ]
        expected = ((1 - STUDIED_SHARE) * shares[0] + STUDIED_SHARE * shares[1]) * alone.total()
        assert alone[name] == pytest.approx(expected, abs=4 * np.sqrt(expected) + 1), name


def test_links_come_in_order_and_once(seen: list[str]) -> None:
    found: set[str] = set()
    for chain in seen:
        names = names_of(chain)
        assert len(set(names)) == len(names)
        places = [LAST.index(name) if name in LAST else -1 for name in names]
        assert places == sorted(places)
        found.update(name for name, place in zip(names[1:], places[1:], strict=True) if place >= 0)
    assert found == set(LAST)
    # What a wireless link loses has been through its codec, and what is not heard is added to what is.
    assert LAST.index("sbc") < LAST.index("packet_loss")
    assert set(LAST[-2:]) == {name for name, entry in DEGRADATIONS.items() if entry.inaudible}


def test_a_drawn_chain_survives_being_written_down(seen: list[str], unseen: list[str]) -> None:
    for chain in seen[:500] + unseen[:100]:
        assert format_chain(*((entry.name, parameters) for entry, parameters in parse_chain(chain))) == chain


def test_parameters_go_from_mild_to_severe(seen: list[str]) -> None:
    for name, key, low, high in (
        ("noise", "snr", -3, 38),
        ("lowpass", "hz", 600, 8_000),
        ("mp3", "kbps", 8, 56),
        ("babble", "snr", -3, 38),
        ("babble", "talkers", 4, 20),
    ):
        values = [p[key] for chain in seen for entry, p in parse_chain(chain) if entry.name == name]
        assert min(values) <= low
        assert max(values) >= high


def test_drawn_chains_can_be_heard(seen: list[str], unseen: list[str], excerpt: Excerpt) -> None:
    samples, voices = excerpt.samples[:24_000], Voices()
    for seed, chain in enumerate(seen[:80] + unseen[:20]):
        got = degrade(samples, excerpt.rate, chain, seed, speech=voices)
        assert np.isfinite(got).all()
        if not any(entry.inaudible for entry, _ in parse_chain(chain)):
            assert np.sqrt(np.mean(got**2)) == pytest.approx(np.sqrt(np.mean(samples**2)), rel=1e-9)


def test_a_redrawn_chain_has_the_same_conditions_in_other_strengths(seen: list[str]) -> None:
    rng, changed = np.random.default_rng(5), 0
    for chain in filter(None, seen[:300]):
        other = redraw_parameters(rng, chain)
        assert names_of(other) == names_of(chain)
        changed += other != chain
        assert not is_unseen(other)
    assert changed > 250  # some have few values
    assert redraw_parameters(rng, "") == ""


def test_the_same_generator_draws_the_same_chains() -> None:
    first, second, third = ([random_chain(rng) for _ in range(20)] for rng in map(np.random.default_rng, (1, 1, 2)))
    assert first == second != third


BABBLE = "babble(snr=5,talkers=6,room=0.5)"
COMPRESSED = "compress(ratio=3,attack=5,release=50)"
SUBTRACTED = "speech_babble_subtraction(snr=5,over=2,talkers=6)"


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
        (f"{SUBTRACTED}|{COMPRESSED}", "babble subtraction + compression", True, True),
        (f"babble_subtraction(snr=5,over=2)|{COMPRESSED}", "babble subtraction + compression", True, True),
        (f"music_babble(snr=5)|{COMPRESSED}", "babble + compression", True, True),
        (f"talker(snr=5,talkers=2)|{COMPRESSED}", "babble + compression", True, False),
        (BABBLE, "babble", False, True),
        (SUBTRACTED, "speech_babble_subtraction", False, True),
        ("talker(snr=5,talkers=2)", "talker", False, False),
        ("speech_noise(snr=5)", "speech_noise", False, True),
        ("resonance(hz=500,gain=6,peaks=3)|lowpass(hz=3000)", "resonance + low-pass", True, True),
        (f"{BABBLE}|{COMPRESSED}|lowpass(hz=3000)", "babble + compression + low-pass", True, True),
        (f"{BABBLE}|{COMPRESSED}|highpass(hz=300)", "babble + compression + high-pass", True, True),
        (f"{BABBLE}|{COMPRESSED}|tilt(slope=2)", "babble + compression + tilt up", True, True),
        (f"{BABBLE}|{COMPRESSED}|tilt(slope=-2)", "babble + compression + tilt down", True, True),
        (f"{BABBLE}|{COMPRESSED}|resonance(hz=500,gain=6,peaks=1)", "babble + compression + resonance", True, True),
        (f"{BABBLE}|{COMPRESSED}|resonance(hz=500,gain=6,peaks=3)", "babble + compression + resonances", True, True),
        ("opus(kbps=12)", "opus", True, False),
        ("crowd(snr=5)", "crowd", True, False),
        ("noise(snr=3)|crowd(snr=5)", "crowd", True, False),
        ("noise(snr=3)|ringing(hz=2000,gain=1)", "combination", False, False),
    ],
)
def test_families(chain: str, kind: str, held_out: bool, studied: bool) -> None:
    assert family(chain) == kind
    assert is_unseen(chain) == held_out
    assert is_from_studies(chain) == studied
