"""Scores from counts, with values worked by hand and against torchmetrics."""

import warnings
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
import torchmetrics
from torchmetrics.functional.segmentation import mean_iou

from segmodels import metrics
from segmodels.samples import IGNORE_INDEX


def test_confusion_leaves_void_out() -> None:
    truth = np.array([[0, 0, 1], [1, IGNORE_INDEX, IGNORE_INDEX]], np.uint8)
    guess = np.array([[0, 1, 1], [1, 0, 1]], np.uint8)
    # of class 0 one right, one taken for 1; of class 1 two right
    assert metrics.confusion(guess, truth, 2).tolist() == [[1, 1], [0, 2]]


def test_scores_by_hand() -> None:
    # class 0: truth 4 px, guess 4 px, overlap 2: IoU = 2 / (4 + 4 - 2); class 1: 3 / (5 + 3 - 3); class 2: nowhere
    found = metrics.scores(np.array([2, 3, 0]), np.array([4, 5, 0]), np.array([4, 3, 0]))
    assert found.iou == [2 / 6, 3 / 5, None]
    assert found.miou == (2 / 6 + 3 / 5) / 2
    assert found.pixel_accuracy == 5 / 9


def test_a_class_only_predicted_scores_zero() -> None:
    assert metrics.scores(np.array([1, 0]), np.array([1, 0]), np.array([1, 2])).iou == [1.0, 0.0]


def test_nothing_known_has_no_score() -> None:
    assert metrics.scores(np.zeros(2, int), np.zeros(2, int), np.zeros(2, int)).miou is None


def test_agrees_with_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 5, (1, 40, 40), generator=generator, dtype=torch.uint8)
    guess = torch.randint(0, 5, (1, 40, 40), generator=generator, dtype=torch.uint8)
    counts = metrics.confusion(guess.numpy(), truth.numpy(), 5)
    ours = metrics.scores(counts.diagonal(), counts.sum(1), counts.sum(0)).iou
    theirs = mean_iou(guess.long(), truth.long(), num_classes=5, per_class=True, input_format="index")[0]
    assert np.allclose(np.array(ours, float), theirs.numpy(), atol=1e-6)


@pytest.fixture(params=range(3))
def pair(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """Labels of four images with void, where one of five classes is nowhere and one only predicted."""
    rng = np.random.default_rng(request.param)
    truth, guess = rng.integers(0, 3, (4, 30, 40), np.uint8), rng.integers(0, 4, (4, 30, 40), np.uint8)
    guess[rng.random(guess.shape) < 0.6] = 0
    truth[rng.random(truth.shape) < 0.1] = IGNORE_INDEX
    return truth, guess


def scores_of(truth: np.ndarray, guess: np.ndarray) -> metrics.Scores:
    return metrics.scores(*metrics.counts(guess, truth, 5))


def test_agrees_with_scikit_learn(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, guess = (one[pair[0] != IGNORE_INDEX] for one in pair)
    found = scores_of(*pair)
    there = [0, 1, 2, 3]  # 4 is nowhere, where scikit-learn has zeros and we have none
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of 3, which is only predicted
        precision, recall, dice, _ = sklearn.metrics.precision_recall_fscore_support(truth, guess, labels=there)
        iou = sklearn.metrics.jaccard_score(truth, guess, labels=there, average=None)
        weighted = sklearn.metrics.jaccard_score(truth, guess, labels=there, average="weighted")
    np.testing.assert_allclose(np.array(found.iou[:4], float), iou, rtol=0, atol=1e-9)
    np.testing.assert_allclose(np.array(found.dice[:4], float), dice, rtol=0, atol=1e-9)
    np.testing.assert_allclose(np.array(found.precision[:4], float), precision, rtol=0, atol=1e-9)
    np.testing.assert_allclose(np.array(found.recall[:3], float), recall[:3], rtol=0, atol=1e-9)
    assert (found.recall[3], found.iou[4], found.dice[4], found.precision[4], found.recall[4]) == (None,) * 5
    assert found.miou == pytest.approx(iou.mean(), abs=1e-9)
    assert found.frequency_weighted_iou == pytest.approx(weighted, abs=1e-9)
    assert found.pixel_accuracy == pytest.approx(sklearn.metrics.accuracy_score(truth, guess), abs=1e-9)


def test_agrees_with_torchmetrics_where_void_is_left_out(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, guess = (torch.from_numpy(one).long() for one in pair)
    found = scores_of(*pair)
    options: dict[str, Any] = {"task": "multiclass", "num_classes": 5, "ignore_index": IGNORE_INDEX}
    theirs = torchmetrics.functional.confusion_matrix(guess, truth, **options)
    assert metrics.confusion(pair[1], pair[0], 5).tolist() == theirs.tolist()
    # its own scores are computed in float32: from its counts in float64
    hit, missaid, _, missed, _ = torchmetrics.functional.stat_scores(guess, truth, average="none", **options).double().T[:, :4]
    np.testing.assert_allclose(np.array(found.iou[:4], float), hit / (hit + missaid + missed), rtol=0, atol=1e-9)
    np.testing.assert_allclose(np.array(found.dice[:4], float), 2 * hit / (2 * hit + missaid + missed), rtol=0, atol=1e-9)
    np.testing.assert_allclose(np.array(found.precision[:4], float), hit / (hit + missaid), rtol=0, atol=1e-9)
    np.testing.assert_allclose(np.array(found.recall[:3], float), (hit / (hit + missed))[:3], rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_overlapping_classes_agree_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, guess = (rng.random((2, 4, 3, 20, 30)) < 0.4).astype(np.uint8)
    truth[rng.random(truth.shape) < 0.1] = IGNORE_INDEX
    found = metrics.scores(*metrics.counts(guess, truth, 3, overlap=True), overlap=True)
    for index in range(3):
        known = truth[:, index] != IGNORE_INDEX
        pair = truth[:, index][known], guess[:, index][known]
        assert found.iou[index] == pytest.approx(sklearn.metrics.jaccard_score(*pair), abs=1e-9)
        assert found.dice[index] == pytest.approx(sklearn.metrics.f1_score(*pair), abs=1e-9)
        assert found.precision[index] == pytest.approx(sklearn.metrics.precision_score(*pair), abs=1e-9)
        assert found.recall[index] == pytest.approx(sklearn.metrics.recall_score(*pair), abs=1e-9)


def test_more_pixels_than_a_float_can_count_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = np.zeros((4100, 4100), np.uint8)  # 16.8 million, more than 2 ** 24
    seen[0, 0] = 1
    assert metrics.confusion(seen, seen, 2).tolist() == [[4100**2 - 1, 0], [0, 1]]
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 3, (2, 50, 70), np.uint8)
    whole = metrics.confusion(guess, truth, 3)
    monkeypatch.setattr(metrics, "EXACT", 999)
    assert (metrics.confusion(guess, truth, 3) == whole).all() and whole.sum() == truth.size


def test_frequency_weighted_by_hand() -> None:
    # IoU 2/6 of 4 px and 3/5 of 5 px: (4 * 2/6 + 5 * 3/5) / 9; a class only predicted weighs nothing
    found = metrics.scores(np.array([2, 3, 0]), np.array([4, 5, 0]), np.array([4, 3, 2]))
    assert found.frequency_weighted_iou == pytest.approx((4 * 2 / 6 + 5 * 3 / 5) / 9)
    assert (found.precision, found.recall) == ([2 / 4, 1.0, 0.0], [2 / 4, 3 / 5, None])
