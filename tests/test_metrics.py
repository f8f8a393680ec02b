"""Scores from counts, with values worked by hand and against torchmetrics."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.segmentation import mean_iou

from segmodels import metrics
from segmodels.samples import IGNORE_INDEX


def test_confusion_leaves_void_out() -> None:
    truth = torch.tensor([[0, 0, 1], [1, IGNORE_INDEX, IGNORE_INDEX]], dtype=torch.uint8)
    guess = torch.tensor([[0, 1, 1], [1, 0, 1]])
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
    truth = torch.randint(0, 5, (1, 40, 40), generator=generator)
    guess = torch.randint(0, 5, (1, 40, 40), generator=generator)
    counts = metrics.confusion(guess, truth, 5).numpy()
    ours = metrics.scores(counts.diagonal(), counts.sum(1), counts.sum(0)).iou
    theirs = mean_iou(guess, truth, num_classes=5, per_class=True, input_format="index")[0]
    assert np.allclose(np.array(ours, float), theirs.numpy(), atol=1e-6)


def test_a_draw_of_images_that_show_nothing_has_no_score() -> None:
    """Of overlapping classes an image may rightly have none: resamples of nothing else are left out, not NaN."""
    counts = np.array([[4]] + [[0]] * 9)
    drawn = metrics.bootstrap_miou(counts, counts, counts, np.arange(10), seed=0)
    assert len(drawn) < 2000  # a draw misses the one image in 0.9^10 = 35 % of cases
    assert 1 - len(drawn) / 2000 == pytest.approx(0.9**10, abs=0.05)
    assert set(drawn) == {1.0}
