"""Pure counts to scores. Dataset-level: counts are summed over all images first, then divided.

A class that is neither in the truth nor in the prediction has no score (None) and does not enter the mean; one that is only
predicted scores 0. Void pixels of the truth count nowhere.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segmodels.samples import IGNORE_INDEX, FloatArray, Int64Array


def confusion(prediction: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Pixels by true class (rows) and predicted class (columns), C x C int64, void left out.

    `prediction` and `target` are integer tensors of equal shape; targets are below `num_classes` or IGNORE_INDEX.
    """
    assert prediction.shape == target.shape, (prediction.shape, target.shape)
    # void goes into a row of its own that is cut off: cheaper than selecting the known pixels first
    row = torch.where(target == IGNORE_INDEX, num_classes, target.to(torch.int32))
    cells = row * num_classes + prediction.to(torch.int32)
    counts = torch.bincount(cells.reshape(-1), minlength=(num_classes + 1) * num_classes)
    return counts.reshape(num_classes + 1, num_classes)[:num_classes]


def counts(prediction: Tensor, truth: Tensor, num_classes: int, *, overlap: bool = False) -> Tensor:
    """Pixels by class, 3 x C int64: predicted rightly, true, predicted.

    `prediction` and `truth` are labellings (see labels.py): class indices of any shape or, with `overlap`, ... x C x H x W of 0 and 1.
    """
    if not overlap:
        cells = confusion(prediction, truth, num_classes)
        return torch.stack([cells.diagonal(), cells.sum(dim=1), cells.sum(dim=0)])
    known = truth != IGNORE_INDEX
    true, predicted = (truth == 1), (prediction == 1) & known
    rows = [(one.movedim(-3, 0).flatten(1)).sum(dim=1) for one in (true & predicted, true, predicted)]
    return torch.stack(rows)


@dataclass(frozen=True)
class Scores:
    """Scores of one model on one set of images; None where there is nothing to score.

    `pixel_accuracy` is the share of pixels whose class is right; of classes that overlap there is none.
    """

    miou: float | None
    pixel_accuracy: float | None
    iou: list[float | None]


def scores(intersection: Int64Array, truth: Int64Array, prediction: Int64Array, *, overlap: bool = False) -> Scores:
    """Scores from per-class pixel counts, each of shape (C,): predicted rightly, true, predicted."""
    iou_C = iou(intersection, truth, prediction)
    total = 0 if overlap else int(truth.sum())
    known = iou_C[~np.isnan(iou_C)]
    return Scores(
        miou=float(known.mean()) if len(known) else None,
        pixel_accuracy=float(intersection.sum() / total) if total else None,
        iou=[None if np.isnan(value) else float(value) for value in iou_C],
    )


def iou(intersection: Int64Array, truth: Int64Array, prediction: Int64Array) -> FloatArray:
    """Intersection over union, NaN where the union is empty; any shape."""
    union = truth + prediction - intersection
    with np.errstate(invalid="ignore", divide="ignore"):
        values: FloatArray = np.where(union > 0, intersection / union, np.nan)
    return values


def bootstrap_miou(
    intersection: Int64Array, truth: Int64Array, prediction: Int64Array, groups: np.ndarray, *, seed: int, resamples: int = 2000
) -> FloatArray:
    """Macro mIoU of `resamples` datasets drawn with replacement, group by group (images of one scene stay together).

    Counts are N x C, one row an image; `groups` has N labels. Returns at most `resamples` values: a draw of images that show no class at
    all has no score.
    Source: cluster bootstrap, Field and Welsh 2007 (doi:10.1111/j.1467-9868.2007.00593.x).
    """
    labels, index = np.unique(groups, return_inverse=True)
    grouped = [_sum_by(index, len(labels), counts) for counts in (intersection, truth, prediction)]
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=resamples)
    values = iou(*(times @ counts for counts in grouped))
    scored = values[~np.isnan(values).all(axis=1)]
    means: FloatArray = np.nanmean(scored, axis=1)
    return means


def _sum_by(index: np.ndarray, num_groups: int, counts: Int64Array) -> Int64Array:
    summed = np.zeros((num_groups, counts.shape[1]), np.int64)
    np.add.at(summed, index, counts)
    return summed
