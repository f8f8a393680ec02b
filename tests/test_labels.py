"""What masks and logits say in each task: decisions, the table of overlapping classes, and counts over it, worked by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segmodels import images, metrics
from segmodels.assembly import Place
from segmodels.errors import DatasetError
from segmodels.label_sets import SetTable
from segmodels.labels import Labels
from segmodels.logits import decide, labelling_of
from segmodels.samples import IGNORE_INDEX, SegmentationClass, num_logits
from segmodels.shards import Pair
from tests.conftest import stored

VOID = IGNORE_INDEX
OVERLAPPING = np.array([[[1, 1, 0, VOID]], [[0, 1, 0, VOID]], [[0, 0, 0, VOID]]], np.uint8)
"""Three classes, a row of four pixels: a, a and b, nothing, unknown."""
CLASSES = [SegmentationClass("a", 0, (200, 0, 0)), SegmentationClass("b", 1, (0, 100, 0)), SegmentationClass("c", 2, (0, 0, 50))]


def test_each_task_decides_in_its_own_way() -> None:
    logits = torch.tensor([[[[-2.0, 0.5]], [[-1.0, 3.0]]]])  # two classes, two pixels
    assert decide(logits, "multiclass").tolist() == [[[1, 1]]]  # the higher one, however low
    assert decide(logits[:, :1], "binary").tolist() == [[[0, 1]]]  # class 1 above a probability of one half
    assert decide(logits, "multilabel").tolist() == [[[[0, 1]], [[0, 1]]]]
    assert [num_logits(task, 2) for task in ("multiclass", "binary", "multilabel")] == [2, 1, 2]


def test_overlapping_classes_come_back_from_their_mask() -> None:
    table = SetTable()
    first, second = table.mask(OVERLAPPING), table.mask(OVERLAPPING[..., ::-1])
    assert first.dtype == np.uint8
    assert first.shape == (1, 4)
    assert first[0, 3] == VOID  # so that what fills up with void means the same in all tasks
    assert first.tolist() == second[:, ::-1].tolist()
    labels = Labels("multilabel", 3, table.sets)
    assert labels.of_array(first).tolist() == OVERLAPPING.tolist()
    assert labelling_of(torch.from_numpy(np.stack([first, first])), labels).shape == (2, 3, 1, 4)


def test_one_class_may_be_unknown_where_another_is_known() -> None:
    half_known = np.array([[[1]], [[VOID]], [[0]]], np.uint8)
    table = SetTable()
    mask = table.mask(half_known)
    assert Labels("multilabel", 3, table.sets).of_array(mask).tolist() == half_known.tolist()


def test_more_combinations_than_a_mask_can_hold_are_refused() -> None:
    every = np.array([[number >> bit & 1 for number in range(256)] for bit in range(8)], np.uint8)[:, None]
    SetTable().mask(every[..., :255])
    with pytest.raises(DatasetError, match="more than 255 different combinations"):
        SetTable().mask(every)


def test_counts_of_overlapping_classes_by_hand() -> None:
    predicted = np.array([[[1, 0, 0, 1]], [[1, 1, 0, 1]], [[0, 0, 1, 0]]], np.uint8)
    counts = metrics.counts(predicted, OVERLAPPING, 3, overlap=True)
    # right: a once, b once; true: a twice, b once; predicted, the unknown pixel aside: a once, b twice, c once
    assert counts.tolist() == [[1, 1, 0], [2, 1, 0], [1, 2, 1]]
    scores = metrics.scores(*counts, overlap=True)
    assert scores.iou == [1 / 2, 1 / 2, 0.0]
    assert scores.pixel_accuracy is None


def test_counts_of_exclusive_classes_are_the_confusions_sums() -> None:
    truth, predicted = np.array([[0, 1, 1, VOID]], np.uint8), np.array([[0, 0, 1, 1]], np.uint8)
    assert metrics.counts(predicted, truth, 2).tolist() == [[1, 1], [1, 2], [2, 1]]


def test_a_store_keeps_overlapping_classes(tmp_path: Path) -> None:
    image = np.zeros((1, 4, 3), np.uint8)
    samples = [Pair("x", image, OVERLAPPING), Pair("y", image, OVERLAPPING[..., ::-1].copy())]
    places = {"x": Place("train", "x", "x"), "y": Place("test", "y", "y")}
    digests = []
    for name, order in (("one", samples), ("two", samples[::-1])):
        found = stored(tmp_path / name, order, CLASSES, "multilabel", places=places, pairs_a_shard=1)
        for row, sample in enumerate(samples):
            assert found.labelling(row).tolist() == sample.labelling.tolist()
        digests.append(found.digest("test"))
    counted = found.manifest[["pixels_0", "pixels_1", "pixels_2", "pixels_void"]].to_numpy()
    assert counted.tolist() == [[2, 1, 0, 1]] * 2
    # images labelled later may come first: they do not change what others hold
    assert digests[0] == digests[1]


def test_the_same_pixels_of_another_task_are_another_dataset(tmp_path: Path) -> None:
    sample = Pair("x", np.zeros((1, 2, 3), np.uint8), np.array([[0, 1]], np.uint8))
    found = {}
    for task in ("multiclass", "binary"):
        found[task] = stored(tmp_path / task, [sample], CLASSES[:2], task).sha256
    assert found["multiclass"] != found["binary"]


def test_where_classes_overlap_their_colours_mix() -> None:
    assert images.colored(OVERLAPPING, CLASSES).tolist() == [[[200, 0, 0], [100, 50, 0], [0, 0, 0], [0, 0, 0]]]
    image = np.full((1, 4, 3), 80, np.uint8)
    laid_over = images.overlay(image, OVERLAPPING, CLASSES, opacity=0.5)
    # half of the image and half of the colour; nothing and unknown leave the image as it is
    assert laid_over.tolist() == [[[140, 40, 40], [90, 65, 40], [80, 80, 80], [80, 80, 80]]]
