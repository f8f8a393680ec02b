"""Boundaries, calibration, objects, confusions and thresholds: worked by hand, and against those who published them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torchmetrics.functional.classification.calibration_error import _ce_compute

from segmodels import boundaries, labellings, thresholds
from segmodels.batches import Batch
from segmodels.calibration import NUM_BINS, Calibration
from segmodels.confusions import Confusion, Confusions
from segmodels.errors import DatasetError
from segmodels.labels import Labels
from segmodels.objects import Objects


def published_boundary(mask: np.ndarray, distance: int) -> np.ndarray:
    """As the authors of Boundary IoU describe it: the mask less its erosion by a 3 x 3 square, so many times, with a border of nothing."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)
    return np.asarray(mask & ~eroded[1:-1, 1:-1].astype(bool))


@pytest.mark.parametrize("seed", range(4))
def test_boundary_counts_are_those_of_the_paper(seed: int) -> None:
    rng = np.random.default_rng(seed)
    blobs: list[np.ndarray] = [
        np.kron(rng.integers(0, 4, (5, 6)).astype(np.uint8), np.ones((18, 20), np.uint8)) for _ in range(2)
    ]
    truth, guess = blobs[0], np.roll(blobs[0] if seed < 2 else blobs[1], 3, axis=1)
    distance = round(0.02 * np.hypot(90, 120))
    found = boundaries.counts(guess, truth, 4)
    for index in range(4):
        near_truth = published_boundary(truth == index, distance)
        near_guess = published_boundary(guess == index, distance)
        assert found[:, index].tolist() == [(near_truth & near_guess).sum(), near_truth.sum(), near_guess.sum()]


def test_boundaries_of_overlapping_classes_and_of_void() -> None:
    """An image of 10 x 10, where near is one pixel: a square of 6 has 20 pixels near its border."""
    square = np.zeros((10, 10), np.uint8)
    square[2:8, 2:8] = 1
    assert boundaries.counts(square[None], square[None], 1, overlap=True)[:, 0].tolist() == [20, 20, 20]
    void = square.copy()
    void[2] = 255  # a row of the border is not known, and what lies next to it is near no border for that
    assert boundaries.counts(square, void, 2)[:, 1].tolist() == [20 - 6] * 3


@pytest.mark.parametrize("seed", range(3))
def test_who_is_right_wherever_it_is_known_meets_every_border(seed: int) -> None:
    rng = np.random.default_rng(seed)
    guess: np.ndarray = np.kron(rng.integers(0, 255, (5, 6)).astype(np.uint8), np.ones((8, 9), np.uint8))
    truth: np.ndarray = np.where(rng.random(guess.shape) < 0.2, np.uint8(255), guess)
    truth[10:20, 5:30] = 255
    right, true, predicted = boundaries.counts(guess, truth, 255)
    assert (right == true).all() and (true == predicted).all() and true.sum() > 100


def test_calibration_by_hand() -> None:
    found = Calibration()
    assert found.error is None
    # 60 pixels that are sure at 0.9, two thirds of them right; 40 at 0.5, all right
    found.add(np.array([0.9] * 60 + [0.5] * 40, np.float32), np.array([True] * 40 + [False] * 20 + [True] * 40))
    assert found.error == pytest.approx((60 * (0.9 - 40 / 60) + 40 * (1 - 0.5)) / 100)
    told = [one for one in found.to_dict()["bins"] if one["num_pixels"]]  # type: ignore[attr-defined]
    assert told == [
        {"num_pixels": 40, "sure": pytest.approx(0.5), "right": 1.0},
        {"num_pixels": 60, "sure": pytest.approx(0.9), "right": pytest.approx(2 / 3)},
    ]


def test_calibration_agrees_with_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    sure, right = rng.random(5000).astype(np.float32), rng.random(5000) < 0.6
    ours = Calibration()
    ours.add(sure, right)
    edges = torch.linspace(0, 1, NUM_BINS + 1, dtype=torch.float64)
    theirs = _ce_compute(torch.from_numpy(sure).double(), torch.from_numpy(right).double(), edges, norm="l1")
    assert ours.error == pytest.approx(float(theirs), abs=1e-9)


def test_calibration_of_the_certain_goes_into_the_last_bin() -> None:
    found = Calibration()
    found.add(np.array([1.0], np.float32), np.array([True]))
    assert found.num_pixels.tolist() == [0] * (NUM_BINS - 1) + [1] and found.error == 0.0


def test_objects_by_size_by_hand() -> None:
    truth = np.zeros((200, 300), np.uint8)
    truth[10:20, 10:20] = 1  # 100 px: small
    truth[30:40, 10:20] = 1
    truth[50:90, 10:60] = 1  # 2,000 px: medium
    truth[100:200, 100:200] = 1  # 10,000 px: large
    guess = np.zeros_like(truth)
    guess[10:20, 10:15] = 1  # half of the first, nothing of the second
    guess[50:90, 10:60] = 1  # all
    guess[100:175, 100:200] = 1  # three quarters
    found = Objects(2)
    found.add(guess, truth)
    told = {(one["class"], one["size"]): (one["num_objects"], one["recall"]) for one in found.to_dict(["ground", "thing"])}
    assert told["thing", "small"] == (2, 0.25)
    assert told["thing", "medium"] == (1, 1.0)
    assert told["thing", "large"] == (1, 0.75)
    assert told["ground", "large"] == (1, 1.0)
    assert len(told) == 4


def test_confusions_name_the_pairs_and_the_image_that_shows_them() -> None:
    found = Confusions(3)
    found.add(7, np.array([[1, 1, 0, 0]], np.uint8), np.array([[0, 0, 0, 0]], np.uint8))  # half of 0 is taken for 1
    found.add(9, np.array([[1, 2, 2, 2]], np.uint8), np.array([[0, 1, 1, 255]], np.uint8))
    assert found.total.tolist() == [[2, 3, 0], [0, 0, 2], [0, 0, 0]]
    assert found.worst(5) == [Confusion(0, 1, 3, 3 / 5, 7), Confusion(1, 2, 2, 1.0, 9)]
    assert found.worst(1) == [Confusion(0, 1, 3, 3 / 5, 7)]
    assert found.table().to_numpy().tolist() == [[7, 0, 1, 2], [9, 0, 1, 1], [9, 1, 2, 2]]


def batch(probabilities: list[float], truth: list[int]) -> tuple[list[Batch], torch.Tensor]:
    """One image of a row of pixels, and the logits of one class for it."""
    image, mask = torch.zeros(1, 3, 1, len(truth), dtype=torch.uint8), torch.tensor([[truth]], dtype=torch.uint8)
    return [Batch(image, mask)], torch.tensor(probabilities).logit().reshape(1, 1, 1, -1)


def test_the_threshold_that_scores_best_is_chosen() -> None:
    batches, logits = batch([0.12, 0.22, 0.32, 0.42, 0.9], [0, 1, 1, 0, 1])
    # foreground and background by threshold: 0.15: 3/4 and 1/2; 0.25 to 0.3: 2/4 and 1/3 ...; 0.45 to 0.85: 1/3 and 2/4
    assert thresholds.choose(batches, lambda _: logits, Labels("binary", 2)) == [0.2]


def test_where_half_is_as_good_it_stays() -> None:
    batches, logits = batch([0.1, 0.9], [0, 1])
    assert thresholds.choose(batches, lambda _: logits, Labels("binary", 2)) == [0.5]
    batches, logits = batch([0.1, 0.9], [0, 0])  # nothing is there to tell
    assert thresholds.choose(batches, lambda _: logits, Labels("multilabel", 1, ((0,), (1,)))) == [0.5]


def test_where_everything_is_foreground_all_of_it_is_found() -> None:
    batches, logits = batch([0.99, 0.22], [1, 1])
    assert thresholds.choose(batches, lambda _: logits, Labels("binary", 2)) == [0.2]
    batches, logits = batch([0.99, 0.98], [1, 1])
    assert thresholds.choose(batches, lambda _: logits, Labels("binary", 2)) == [0.5]


def test_void_does_not_count_and_classes_have_their_own() -> None:
    labels = Labels("multilabel", 2, ((0, 0), (1, 0), (0, 1), (1, 1), (255, 0)))
    image, mask = torch.zeros(1, 3, 1, 4, dtype=torch.uint8), torch.tensor([[[1, 2, 0, 4]]], dtype=torch.uint8)
    logits = torch.tensor([[[[0.32, 0.12, 0.22, 0.9]], [[0.1, 0.92, 0.78, 0.1]]]]).logit()
    assert thresholds.choose([Batch(image, mask)], lambda _: logits, labels) == [0.3, 0.8]


def test_exclusive_classes_need_none() -> None:
    assert thresholds.choose([], lambda images: images, Labels("multiclass", 3)) is None


def test_labellings_are_read_as_they_were_added_and_the_same_ones_give_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    exclusive, overlapping = rng.integers(0, 5, (7, 9), np.uint8), rng.integers(0, 2, (3, 7, 9), np.uint8)
    for name in ("one.zip", "two.zip"):
        with labellings.writing(tmp_path / name) as kept:
            kept.add(4, exclusive)
            kept.add(9, overlapping)
            kept.add(10, overlapping[:1])
    assert (labellings.read(tmp_path / "one.zip", 4, layers=None) == exclusive).all()
    for row, wanted in ((9, overlapping), (10, overlapping[:1])):
        found = labellings.read(tmp_path / "one.zip", row, layers=len(wanted))
        assert found.shape == wanted.shape and (found == wanted).all()
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with pytest.raises(DatasetError, match=r"one.zip: has no labelling of image 5 .*; run `make retrain`"):
        labellings.read(tmp_path / "one.zip", 5, layers=None)
