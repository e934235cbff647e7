"""Tuning to ratings: scales there and back, folds that share nothing, what is frozen, and the tests of a change."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from haaqi_edge.model import Nano, Student, Teacher
from haaqi_edge.model.loss import HAAQILoss, score_windows
from haaqi_edge.runtime.bundle import Scale
from haaqi_edge.runtime.errors import CorpusError, OptionError
from haaqi_edge.training.data.batches import Dataset
from haaqi_edge.training.data.feature_cache import FeatureCache, texture_kind
from haaqi_edge.training.loop import TrainerConfig, train
from haaqi_edge.training.run_directory import RunDirectory
from haaqi_edge.training.tasks.distillation import save_student
from haaqi_edge.training.tasks.mos import (
    FREEZES,
    EncodedClips,
    Freeze,
    MosConfig,
    MosTask,
    encode_examples,
    freeze_parameters,
    predict_scores,
    tune,
)
from haaqi_edge.training.tasks.pipelines import TrainingData
from haaqi_edge.training.tasks.ratings import (
    compare_predictions,
    judge_tuning,
    rating_metrics,
    read_ratings,
    split_folds,
)
from sounds import music, write

MOS = Scale("MOS", 1.0, 5.0)


@pytest.fixture(scope="module")
def ratings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ratings that are nano's scores, much stricter: something to learn, and from the output alone."""
    folder = tmp_path_factory.mktemp("ratings")
    loss, lines = HAAQILoss("nano", "N3"), ["file,audiogram,rating,group"]
    for number in range(12):
        sound = music(0.5, start=1.4 * number, clip="clean" if number % 2 else "degraded")
        path = write(folder / f"{number}.wav", sound, 16_000, "wav")
        with torch.no_grad():
            score = float(loss.score(torch.from_numpy(sound)[None]))
        rating = 1.1 + 3.8 / (1 + np.exp(2 - np.log(score / (1 - score))))
        lines += [f"{path.name},N3,{rating + wrong},p{number // 2}" for wrong in (-0.001, 0.001)]
    path = folder / "ratings.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_ratings_are_mapped_and_averaged(ratings: Path) -> None:
    examples = read_ratings(ratings, MOS)
    assert len(examples) == 12
    assert {example.group for example in examples} == {f"p{n}" for n in range(6)}
    first = float(ratings.read_text().splitlines()[1].split(",")[2]) + 0.001
    assert examples[0].score == pytest.approx((first - 1) / 4)
    assert MOS.of_score(examples[0].score) == pytest.approx(first)
    assert str(MOS) == "MOS, 1 to 5"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0.wav,N3,6,p", "line 2: the rating 6 is not within 1 to 5: give their scale with --scale"),
        ("0.wav,N3,good,p", "'good' is not a number"),
        ("absent.wav,N3,3,p", "does not exist"),
        ("0.wav,N9,3,p", "N9"),
        ("", "has no ratings"),
    ],
)
def test_ratings_that_cannot_be(line: str, said: str, ratings: Path) -> None:
    path = ratings.with_name("bad.csv")
    path.write_text(f"file,audiogram,rating,group\n{line}\n")
    with pytest.raises(CorpusError, match=said):
        read_ratings(path, MOS)


def test_folds_share_no_group(ratings: Path) -> None:
    examples = read_ratings(ratings, MOS)
    folds = split_folds(examples, 3)
    assert sorted(place for fold in folds for place in fold) == list(range(12))
    groups = [{examples[place].group for place in fold} for fold in folds]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 6
    with pytest.raises(CorpusError, match=r"6 groups .* for 7 folds: give --folds 6 or fewer"):
        split_folds(examples, 7)


def test_columns_are_named(ratings: Path) -> None:
    path, told = ratings.with_name("other.csv"), list[str]()
    path.write_text(ratings.read_text().replace("group", "piece", 1))
    assert {example.group for example in read_ratings(path, MOS, told.append)} == {f"{n}.wav" for n in range(12)}
    assert len(told) == 1
    assert "ignored columns: piece;" in told[0]
    path.write_text(ratings.read_text().replace(",", ";"))
    with pytest.raises(CorpusError, match="its first line has 'file;audiogram;rating;group'"):
        read_ratings(path, MOS)


@pytest.mark.slow
def test_folds_of_other_groups_are_another_run(ratings: Path, tmp_path: Path) -> None:
    examples = read_ratings(ratings, MOS)
    cache, config = (
        FeatureCache(ratings.parent / "features"),
        MosConfig(folds=2, trainer=TrainerConfig(epochs=1), batch_size=6),
    )
    tune(Nano.shipped(), config, TrainingData(examples, [], cache), tmp_path, MOS)
    modes = {(tmp_path / name).stat().st_mode for name in ("nano.safetensors", "config.json")}
    assert len(modes) == 1, "weights are as readable as the rest"
    other = [replace(example, group=str(place % 5)) for place, example in enumerate(examples)]
    with pytest.raises(OptionError, match=r"fold-0 holds a run that has other settings \(parts"):
        tune(Nano.shipped(), config, TrainingData(other, [], cache), tmp_path, MOS)
    alike = [replace(example, score=0.5) for example in examples]
    with pytest.raises(CorpusError, match="12 ratings are equal"):
        tune(Nano.shipped(), config, TrainingData(alike, [], cache), tmp_path / "alike", MOS)


@pytest.mark.slow
def test_tuning_learns_the_ratings_and_changes_the_output_alone(ratings: Path, tmp_path: Path) -> None:
    nano = Nano.shipped()
    data = TrainingData(read_ratings(ratings, MOS), [], FeatureCache(ratings.parent / "features"))
    config = MosConfig(folds=2, trainer=TrainerConfig(epochs=40, patience=40), batch_size=3, lr=0.03, anchor_weight=0.0)
    tuned = tune(nano, config, data, tmp_path, MOS)
    found = tuned.metrics
    assert found["after"]["lcc"] > 0.5
    assert found["after"]["mse"] < 0.5 * found["before"]["mse"]
    assert found["after_against_before"]["mse"][1] < 0
    assert found["after_against_before"]["error_p"] < 0.05
    assert (found["ratings"], found["groups"], found["scale"]) == (12, 6, [1.0, 5.0])
    before, after = nano.state_dict(), Nano.from_checkpoint(tuned.weights).state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed <= {"head.frame.weight", "head.frame.bias", "head.attention.weight", "head.attention.bias"}
    assert "head.frame.weight" in changed
    assert all(torch.equal(p, q) for p, q in zip(Nano.shipped().parameters(), nano.parameters(), strict=True))
    again = tune(nano, config, data, tmp_path, MOS)  # all runs are finished: nothing is computed anew
    assert np.array_equal(again.after, tuned.after)


def test_the_anchor_holds(ratings: Path, tmp_path: Path) -> None:
    cache, examples, far = FeatureCache(ratings.parent / "features"), read_ratings(ratings, MOS), []
    cache.fill([texture_kind()], examples, None)
    for anchor in (0.0, 10.0):
        config = MosConfig(trainer=TrainerConfig(epochs=2), batch_size=6, lr=0.05, anchor_weight=anchor)
        task = MosTask(Nano.shipped(), config, Dataset(cache, examples, texture_kind()), None)
        train(task, config.trainer, RunDirectory(tmp_path / str(anchor), {}))
        assert isinstance(task.network, Nano)
        far.append((task.network.head.frame.weight - Nano.shipped().head.frame.weight).norm().item())
    assert far[1] < 0.8 * far[0]


def test_tokens_that_are_computed_once_give_the_same_scores(ratings: Path) -> None:
    cache, examples, nano = FeatureCache(ratings.parent / "features"), read_ratings(ratings, MOS), Nano.shipped()
    reads = texture_kind(nano.config.texture_version)
    cache.fill([reads], examples, None)
    clips = Dataset(cache, examples, reads)
    encoded = EncodedClips(clips, encode_examples(nano, clips, torch.device("cpu"), size=5))
    np.testing.assert_allclose(predict_scores(nano, encoded), predict_scores(nano, clips), rtol=0, atol=1e-6)
    assert (len(encoded), encoded.steps(5)) == (len(clips), clips.steps(5))


@pytest.mark.parametrize(
    ("before", "after", "verdict", "words"),
    [
        (1.0, 0.1, "better", "Tuning helped .*more than a straight line"),
        (0.1, 1.0, "worse", "do not use the tuned bundle"),
        (0.5, 0.5, "unclear", "give more ratings, or use the model as it was"),
    ],
)
def test_whether_tuning_helped_is_said_in_words(before: float, after: float, verdict: str, words: str) -> None:
    draw = np.random.default_rng(0)
    truth = draw.uniform(0.1, 0.9, 60)
    first, second = (truth + spread * draw.standard_normal(60) for spread in (before, after))
    found = rating_metrics(first, first, second, truth, [str(i) for i in range(60)], MOS)
    assert found["verdict"] == verdict
    assert re.search(words, found["verdict_text"])


def test_a_change_of_scale_alone_is_said() -> None:
    draw = np.random.default_rng(0)
    truth = draw.uniform(0.1, 0.9, 60)
    second = truth + 0.1 * draw.standard_normal(60)
    found = rating_metrics(0.2 * second, second, second, truth, [str(i) for i in range(60)], MOS)
    assert found["verdict"] == "rescaled"
    assert "not more than a straight line" in found["verdict_text"]


def test_undefined_correlations_decide_nothing() -> None:
    same, truth = np.full(6, 0.5), np.linspace(0, 1, 6)
    found = rating_metrics(same, same, same, truth, list("abcdef"), MOS)
    assert np.isnan(found["before"]["lcc"])
    assert judge_tuning(found).name == "unclear"


@pytest.mark.parametrize("what", FREEZES)
def test_what_is_frozen(what: Freeze) -> None:
    networks = [Nano(), Student(tiny.BEATS, tiny.HEAD), Teacher(tiny.BEATS, tiny.HEAD)]
    for network in networks:
        names = set(freeze_parameters(network, what))
        every = {name for name, _ in network.named_parameters()}
        assert names == {name for name, p in network.named_parameters() if p.requires_grad}
        inside = {n for n in every if n.startswith(("encoder", "beats_", "patch_embedding", "linear2"))}
        assert inside
        if what == "nothing":
            assert names == every
        elif what == "encoder":
            assert names == every - inside
        else:
            assert 2 <= len(names) <= 4
            assert all("frame" in name or name.startswith("head.attention") for name in names)


@pytest.mark.slow
def test_a_student_is_tuned_too(ratings: Path, tmp_path: Path) -> None:
    save_student(Student(tiny.BEATS, tiny.HEAD), tmp_path / "student.pth")
    student = Student.from_checkpoint(tmp_path / "student.pth")
    data = TrainingData(read_ratings(ratings, MOS), [], FeatureCache(ratings.parent / "features"))
    tuned = tune(
        student, MosConfig(folds=2, trainer=TrainerConfig(epochs=1), freeze="encoder"), data, tmp_path / "run", MOS
    )
    assert isinstance(tuned.network, Student)
    assert torch.equal(tuned.network.get_parameter("encoder0.fc1.weight"), student.get_parameter("encoder0.fc1.weight"))
    assert not torch.equal(tuned.network.linear0.weight, student.linear0.weight)


def test_long_clips_are_the_mean_of_their_windows() -> None:
    nano = Nano.shipped()
    texture, levels = torch.randn(1, 7, 16, 32), torch.full((1, 8), 30.0)
    with torch.no_grad():
        found = score_windows(nano, texture, levels, patches=3)
        parts = [nano(texture[:, start : start + 3], levels).score for start in (0, 3, 4)]
    torch.testing.assert_close(found, (3 * parts[0] + 3 * parts[1] + 1 * parts[2]) / 7)


@pytest.mark.slow
def test_comparison_of_predictions() -> None:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(40)
    before, after = (truth + rng.standard_normal(40) * spread for spread in (1.0, 0.4))
    groups = [str(i) for i in range(40)]
    found = compare_predictions(before, after, truth, groups)
    assert found.intervals.lcc.low > 0 > found.intervals.mse.high
    assert max(found.lcc_p, found.error_p) < 0.05
    none = compare_predictions(before, before, truth, groups)
    assert (none.intervals.lcc, none.lcc_p, none.error_p) == ((0, 0), 1, 1)
