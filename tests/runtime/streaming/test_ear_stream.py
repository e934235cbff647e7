"""A stereo stream for two ears: each ear is the stream of its channel."""

from __future__ import annotations

import numpy as np
import pytest
from haaqi_edge.runtime import Scorer
from haaqi_edge.runtime.errors import AudioError, ChannelWarning, OptionError
from haaqi_edge.runtime.streaming.ear_stream import EarSummary, EarUpdate
from sounds import RATE, Sound, music
from streaming import split


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer("nano", threads=1)


@pytest.fixture(scope="module")
def stereo() -> Sound:
    return np.stack([music(3, start=2), 0.4 * music(3, start=2, clip="degraded")], axis=1)


@pytest.mark.parametrize("nal_r", [False, True])
@pytest.mark.parametrize("rate", [RATE, 48_000])
def test_each_ear_is_the_stream_of_its_channel(scorer: Scorer, rate: int, nal_r: bool) -> None:
    sound = np.stack([music(2, rate, start=2), 0.4 * music(2, rate, start=2, clip="degraded")], axis=1)
    pairs = [("N2", "N4"), ("NH", "S1")]
    with scorer.stream(sample_rate=rate, ears=pairs, window=1.0, nal_r=nal_r) as stream:
        updates = list(stream.updates(split(sound, [777, 1])))
        summary = stream.summary()
    alone = []
    for channel, listeners in (("left", ["N2", "NH"]), ("right", ["N4", "S1"])):
        one = scorer.stream(listeners, rate, window=1.0, nal_r=nal_r, channel=channel)  # type: ignore[arg-type]
        alone.append((list(one.updates(split(sound, [5_000]))), one.summary()))
    assert [u.time for u in updates] == [u.time for u in alone[0][0]]
    for update, left, right in zip(updates, alone[0][0], alone[1][0], strict=True):
        names = [reading.audiogram.name for reading in update.readings]
        assert names == ["N2", "N4", "NH", "S1"]
        for index, (one, other) in enumerate(zip(left.readings, right.readings, strict=True)):
            result = update.ears[index]
            assert (result.left, result.right) == pytest.approx((one.score, other.score), abs=1e-5)
            assert result.score == pytest.approx((one.score + other.score) / 2, abs=1e-5)  # type: ignore[operator]
    offline = scorer.score((sound, rate), ears=pairs, window=1.0, nal_r=nal_r)
    assert [one.score for one in summary.ears] == pytest.approx([one.score for one in offline], abs=1e-4)
    document = summary.to_dict()
    assert [one["listener"] for one in document["ears"]] == ["N2, N4", "NH, S1"]
    assert len(document["totals"]) == 4
    with pytest.raises(OptionError, match="there are 2 listeners"):
        _ = summary.score


def test_one_listener_and_other_ears_later(scorer: Scorer, stereo: Sound) -> None:
    stream = scorer.stream(sample_rate=RATE, ears=("N2", "N4"), window=1.0)
    assert (stream.sample_rate, stream.window, stream.hop) == (RATE, pytest.approx(0.96), 0.16)
    update = stream.accept_waveform(stereo)[-1]
    assert isinstance(update, EarUpdate)
    assert update.score == update.ears[0].score
    assert update.to_dict()["ears"][0]["better"]["score"] == max(r.score for r in update.readings)  # type: ignore[type-var]
    changed = stream.set_ears(("N4", "N2"))
    assert changed is not None
    assert [r.audiogram.name for r in changed.readings] == ["N4", "N2"] == [stream.ears[0].left.name, "N2"]
    stream.reset()
    again = stream.accept_waveform(stereo[:20_000])
    expected = scorer.score((stereo[:20_000], RATE), ears=("N4", "N2"), window=1.0)
    summary = stream.summary()
    assert isinstance(summary, EarSummary)
    assert again
    assert summary.score == pytest.approx(expected.score, abs=1e-4)
    stream.close()


def test_a_silent_ear_has_no_mean(scorer: Scorer, stereo: Sound) -> None:
    stream = scorer.stream(sample_rate=RATE, ears=("N2", "N4"))
    update = stream.accept_waveform(stereo * np.array([1, 0], np.float32))[-1]
    assert update.ears[0].left is not None
    assert update.ears[0].right is update.score is None
    assert update.to_dict()["ears"][0]["better"] is None


def test_channels_of_chunks(scorer: Scorer, stereo: Sound) -> None:
    stream = scorer.stream(sample_rate=RATE, ears=("N2", "N2"))
    with pytest.warns(ChannelWarning, match="both ears hear the same signal") as issued:
        updates = list(stream.updates(split(stereo[:, 0], [4_000])))
    assert len(issued) == 1
    assert all(update.ears[0].left == update.ears[0].right for update in updates)
    with pytest.raises(AudioError, match="has 3 channels"):
        scorer.stream(sample_rate=RATE, ears=("N2", "N2")).accept_waveform(np.zeros((5_000, 3), np.float32))
    with pytest.raises(OptionError, match="channel='left' with ears"):
        scorer.stream(sample_rate=RATE, ears=("N2", "N2"), channel="left")  # type: ignore[call-overload]
    with pytest.raises(OptionError, match="no sample rate"):
        scorer.stream("N3")  # type: ignore[call-overload]
