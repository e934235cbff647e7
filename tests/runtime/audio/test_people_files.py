"""THE TABLE of files as people have them, made by the scripts of the reference material. PyAV is the oracle.

What PyAV decodes, we read, all of it: the same length at the file's own rate and channels; the same samples within 1e-3
for lossless formats and Vorbis; the same score within 0.01 for lossy ones. The rest of the table names what differs.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from audio_files import pyav_decode, read_audio
from case_scripts import run_script
from haaqi_edge.runtime import Audiogram, Scorer
from haaqi_edge.runtime.audio.reading import FileAudio
from haaqi_edge.runtime.errors import (
    AudioError,
    AudioFileError,
    AudioFileNotFoundError,
    AudiogramError,
    HaaqiEdgeError,
)
from sounds import DEMO

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::haaqi_edge.runtime.errors.AudioWarning"),
    pytest.mark.skipif(sys.platform == "win32", reason="not every name is possible"),
]

LOSSLESS = [
    "-a.wav", "100%.wav", "[bold]x.wav", "aiff.aiff", "alac.m4a", "alldenormal.wav", "au.au", "bext_ff.wav",
    "bext_head.wav", "both.wav", "caf.caf", "ch100.wav", "ch64.wav", "data_odd.wav", "dc.wav", "denormal.wav",
    "ext16.wav", "ext24.wav", "ext24v20.wav", "ext_oversize.wav", "extf32.wav", "extmask0.wav", "ff_pipe.ogg",
    "ffpipe.flac", "ffpipe.wav", "flac16.flac", "flac24.flac", "flac_badmd5.flac", "flac_id3.flac", "flac_in_ogg.oga",
    "flac_total0.flac", "h1.ogg", "h1.wav", "h2.ogg", "h2.wav", "id3_head_of_wav.wav", "id3_tail.wav",
    "id3_tail_outside.wav", "inverted.wav", "junk_head.wav", os.fsdecode(b"latin\xe9.wav"), "left5.wav",
    "leftonly.wav", "link.wav", "list_head.wav", "logic_lgwv.wav", "middlesilence.wav", "mono.wav", "mono16.wav",
    "negzero.wav", "new\nline.wav", "ogg_named.wav", "ogg_tail.ogg", "over.wav", "over100.wav", "pad130k.wav",
    "quote'\".wav", "rate11025.wav", "rate192000.wav", "rate22050.wav", "rate384000.wav", "rate768000.wav",
    "rate8000.wav", "rate96000.wav", "ref.wav", "rf64.wav", "rf64_ffmpeg.wav", "semi;colon,comma.wav", "size_0.wav",
    "size_7ffff000.wav", "size_80000000.wav", "size_ffff.wav", "size_plus16.wav", "size_riff_plus8.wav",
    "size_riff_small.wav", "size_riffok_data0.wav", "size_riffok_dataffff.wav", "soxpipe.wav", "stereo.wav",
    "sub_ALAW.wav", "sub_DOUBLE.wav", "sub_FLOAT.wav", "sub_PCM_24.wav",
    "sub_PCM_32.wav", "sub_PCM_U8.wav", "sub_ULAW.wav", "tab\there.wav", "tail3bytes.wav", "tiny.wav", "vorbis.ogg",
    "w64.w64", "wav_named.mp3", "wide.wav", "with space.wav", "wv.wv", "xmp_tail_broken.wav",
    "za\u017c\xf3\u0142\u0107 \u97f3\u697d \U0001f3b5.wav",
]  # fmt: skip
LOSSY = [
    "aac.m4a", "adts.aac", "art900k.mp3", "art_sync.mp3", "bare.mp3", "cbr.mp3", "garbage_tail.mp3", "h1.opus",
    "h2.opus", "mp2.mp2", "mp3_in_wav.wav", "mp3_named.wav", "mpeg25_11k.mp3", "mpeg25_8k.mp3", "opus.mka",
    "opus.opus", "opus.webm", "opus51.opus",
    "sub_IMA_ADPCM.wav", "sub_MS_ADPCM.wav", "vbr.mp3", "vbr_noxing.mp3", "wma.wma", "zeros_head.mp3",
]  # fmt: skip
SAME_AS = {
    "chained.ogg": ("h1.ogg", "h2.ogg"),
    "flac_id3v1tail.flac": ("flac16.flac",),
    "odd_list_nopad.wav": ("mono16.wav",),
    "size_data_small.wav": ("mono16.wav",),
}
"""Files that PyAV reads in part or not at all, and the files of the same samples."""
SAME_LENGTH_AS = {"concat_noxing.mp3": ("vbr_noxing.mp3", "vbr_noxing.mp3")}
REFUSED: dict[str, tuple[type[HaaqiEdgeError], str]] = {
    "broken.wav": (AudioFileNotFoundError, "does not exist"),
    "loop.wav": (AudioFileNotFoundError, "does not exist"),
    "ext_noext.wav": (AudioFileError, "the chunk fmt announces an extension"),
    "flac_corruptmid.flac": (AudioFileError, r"is damaged or truncated after \d"),
    "flac_totaltoolong.flac": (AudioFileError, "is truncated: its header announces 10000000 sample"),
    "ogg_noeos.ogg": (AudioFileError, "is truncated: its last Ogg page is missing or cut"),
    "ogg_noeos_badcrc.ogg": (AudioFileError, r"is damaged at \d+\.\d\d s: the checksum of the Ogg page"),
    "xing_toolong.mp3": (AudioFileError, "is truncated: its header announces 100000 frames"),
}
"""Files of which PyAV gives a part, or nothing."""
SILENT = ["alldenormal.wav", "denormal.wav", "negzero.wav", "inverted.wav"]
"""Files that are read, and whose mix is silent."""
ALL = [*LOSSLESS, *LOSSY, *SAME_AS, *SAME_LENGTH_AS, *REFUSED]


@pytest.fixture(scope="module")
def folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the script makes."""
    pytest.importorskip("av")
    folder = tmp_path_factory.mktemp("people")
    run_script(shared / "cases" / "make_audio.py", str(DEMO), str(folder))
    return folder


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer("nano", threads=1)


def test_the_table_has_every_file(folder: Path) -> None:
    assert sorted(os.fsencode(path.name) for path in folder.iterdir()) == sorted(os.fsencode(name) for name in ALL)


@pytest.mark.parametrize("name", LOSSLESS, ids=ascii)
def test_lossless_files_are_read_as_pyav_reads_them(name: str, folder: Path) -> None:
    data = (folder / name).read_bytes()
    expected = pyav_decode(data)
    found = read_audio(data)
    assert (found.rate, found.samples.shape, expected.errors) == (expected.rate, expected.samples.shape, 0)
    np.testing.assert_allclose(found.samples, expected.samples, atol=1e-3 * max(1.0, np.abs(expected.samples).max()))
    assert FileAudio(folder / name).rate == expected.rate


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_files_have_the_score_of_what_pyav_reads(name: str, folder: Path, scorer: Scorer) -> None:
    data = (folder / name).read_bytes()
    expected = pyav_decode(data)
    found = read_audio(data)
    seconds = len(expected.samples) / expected.rate
    assert len(found.samples) / found.rate == pytest.approx(seconds, abs=1.5 / found.rate)
    assert found.samples.shape[1] == expected.samples.shape[1]
    score = scorer.score((expected.samples.astype(np.float32), expected.rate), "N3").score
    assert scorer.score(folder / name, "N3").score == pytest.approx(score, abs=0.01)


@pytest.mark.parametrize("name", SAME_AS)
def test_files_that_pyav_cannot_read_whole(name: str, folder: Path) -> None:
    expected = np.concatenate([read_audio((folder / part).read_bytes()).samples for part in SAME_AS[name]])
    np.testing.assert_array_equal(read_audio((folder / name).read_bytes()).samples, expected)


@pytest.mark.parametrize("name", SAME_LENGTH_AS)
def test_files_that_were_joined(name: str, folder: Path) -> None:
    expected = sum(len(read_audio((folder / part).read_bytes()).samples) for part in SAME_LENGTH_AS[name])
    assert len(read_audio((folder / name).read_bytes()).samples) == expected


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_refused(name: str, folder: Path, scorer: Scorer) -> None:
    error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        scorer.score(folder / name, "N3")


@pytest.mark.parametrize("name", SILENT)
def test_files_that_are_silent(name: str, folder: Path, scorer: Scorer) -> None:
    with pytest.raises(AudioError, match="silent"):
        scorer.score(folder / name, "N3")


def test_the_score_does_not_depend_on_the_container(folder: Path, scorer: Scorer) -> None:
    expected = scorer.score(folder / "ref.wav", "N3").score
    for name in ("aiff.aiff", "au.au", "caf.caf", "flac16.flac", "rf64.wav", "w64.w64", "rate96000.wav", "wv.wv"):
        assert scorer.score(folder / name, "N3").score == pytest.approx(expected, abs=2e-3), name


# Audiograms

L = (20, 25, 30, 40, 50, 60, 65, 70)
AUDIOGRAMS: dict[str, Any] = {
    "125_12k.csv": (20, 30, 40, 51.158, 57.685, 62.315, 68.842, 73.473),
    "bom.csv": (20, 30),
    "bom.json": (20, 30),
    "cfs_hl.json": L,
    "comments.csv": (20, 30),
    "cr.csv": (20, 30),
    "dupkeys.json": "key '250' occurs twice",
    "empty_cell.csv": r"empty_cell\.csv, line 3: '' is not a number .* If there was no response, write NR",
    "freq_thresholds.json": L,
    "hzkeys.json": L,
    "inf.json": "hearing level inf dB HL at 500 Hz",
    "k.csv": (20, 30, 40, 50),
    "khz.csv": (20, 30, 40, 50, 55.850, 60, 65.850, 70),
    "list_of_objects.json": L,
    "listeners.json": "may be listeners: give the audiogram of one listener, such as",
    "nr.csv": (20, 30, 50, 80, 103.399, 120, 120, 120),
    "null.json": "the level at 8000 Hz is missing",
    "one_listener.json": "select one, such as",
    "onerow8.csv": L,
    "quoted.csv": (20, 30),
    "semicolon.csv": (20, 30, 40),
    "semicolon_comma.csv": (20.5, 30, 40.5),
    "space.txt": (20, 30),
    "spaces.csv": (20, 30),
    "swapped.csv": r"swapped\.csv, line 1: frequencies and levels are swapped",
    "tab.csv": (20, 30),
    "tab.tsv": (20, 30),
    "three_cols.csv": "has 2 columns of levels .*: select one, such as",
    "trailing.csv": (20, 30),
    "two_cols_wide.csv": (20, 30),
    "unicode_minus.csv": (-5, 10),
    "utf16.csv": (20, 30),
}
"""Levels in dB HL, of which the last one also holds for higher frequencies; or a part of the error."""


@pytest.fixture(scope="module")
def audiograms(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The audiograms that the script makes."""
    folder = tmp_path_factory.mktemp("audiograms")
    run_script(shared / "cases" / "make_audiograms.py", str(folder))
    return folder


def test_the_table_has_every_audiogram(audiograms: Path) -> None:
    assert {path.name for path in audiograms.iterdir()} == set(AUDIOGRAMS)


@pytest.mark.parametrize("name", AUDIOGRAMS)
def test_audiograms_are_read_or_refused(name: str, audiograms: Path) -> None:
    expected = AUDIOGRAMS[name]
    if isinstance(expected, str):
        with pytest.raises(AudiogramError, match=expected):
            Audiogram.parse(str(audiograms / name))
        return
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        found = Audiogram.parse(str(audiograms / name))
    levels = (*expected, *[expected[-1]] * (8 - len(expected)))
    assert found.levels == pytest.approx(levels, abs=1e-3)
    told = " ".join(str(one.message) for one in issued)
    assert ("no response at 4000, 8000 Hz" in told) == (name == "nr.csv")
    assert ("no level at" in told) == (len(expected) < 8)


def test_the_demo_clip_is_long_enough() -> None:
    assert soundfile.info(DEMO).duration > 6
