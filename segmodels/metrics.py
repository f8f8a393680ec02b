"""Pure counts to scores. Dataset-level: counts are summed over all images first, then divided.

A class that is neither in the truth nor in the prediction has no score (None) and does not enter the mean; one that is only
predicted scores 0. Void pixels of the truth count nowhere.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from segmodels.samples import IGNORE_INDEX, FloatArray, Int64Array, UInt8Array

_Counts = Int64Array | FloatArray
EXACT = 2**24
"""So many pixels at once: the counts are float32, which then holds any of them."""


def confusion(prediction: UInt8Array, truth: UInt8Array, num_classes: int) -> Int64Array:
    """Pixels by true class (rows) and predicted class (columns), C x C, void left out.

    `prediction` and `truth` are of equal shape; truths are below `num_classes` or IGNORE_INDEX, predictions below `num_classes`.
    """
    assert prediction.shape == truth.shape, (prediction.shape, truth.shape)
    flat = truth.reshape(-1, 1), prediction.reshape(-1, 1)
    counts: Int64Array = np.zeros((num_classes, num_classes), np.int64)
    for start in range(0, truth.size, EXACT):
        part = [one[start : start + EXACT] for one in flat]
        # a hundredth of what np.bincount or torch's takes; what lies beyond the ranges, as void does, is counted nowhere
        cells = cv2.calcHist(part, [0, 1], None, [num_classes] * 2, [0, num_classes] * 2)
        counts += cells.astype(np.int64)
    return counts


def counts(prediction: UInt8Array, truth: UInt8Array, num_classes: int, *, overlap: bool = False) -> Int64Array:
    """Pixels by class, 3 x C: predicted rightly, true, predicted.

    `prediction` and `truth` are labellings (see labels.py): class indices of any shape or, with `overlap`, ... x C x H x W of 0 and 1.
    """
    if not overlap:
        cells = confusion(prediction, truth, num_classes)
        return np.stack([cells.diagonal(), cells.sum(axis=1), cells.sum(axis=0)])
    true, predicted = truth == 1, (prediction == 1) & (truth != IGNORE_INDEX)
    others = tuple(axis for axis in range(truth.ndim) if axis != truth.ndim - 3)
    return np.stack([one.sum(axis=others) for one in (true & predicted, true, predicted)])


@dataclass(frozen=True)
class Scores:
    """Scores of one model on one set of images; None where there is nothing to score.

    Attributes:
        miou: the mean over the classes that are there or predicted.
        frequency_weighted_iou: the mean over the classes that are there, each counting as its pixels do.
        pixel_accuracy: the share of pixels whose class is right; of classes that overlap there is none.
        iou, dice: by class; None where it is neither there nor predicted.
        precision: by class, how much of what was predicted is right; None where nothing was.
        recall: by class, how much of what is there was found; None where nothing is.
    """

    miou: float | None
    frequency_weighted_iou: float | None
    pixel_accuracy: float | None
    iou: list[float | None]
    dice: list[float | None]
    precision: list[float | None]
    recall: list[float | None]


def scores(intersection: Int64Array, truth: Int64Array, prediction: Int64Array, *, overlap: bool = False) -> Scores:
    """Scores from per-class pixel counts, each of shape (C,): predicted rightly, true, predicted."""
    iou_C = iou(intersection, truth, prediction)
    total = int(truth.sum())
    known = iou_C[~np.isnan(iou_C)]
    return Scores(
        miou=float(known.mean()) if len(known) else None,
        frequency_weighted_iou=float((truth * np.nan_to_num(iou_C)).sum() / total) if total else None,
        pixel_accuracy=float(intersection.sum() / total) if total and not overlap else None,
        iou=_listed(iou_C),
        dice=_listed(_ratio(2 * intersection, truth + prediction)),
        precision=_listed(_ratio(intersection, prediction)),
        recall=_listed(_ratio(intersection, truth)),
    )


def iou(intersection: _Counts, truth: _Counts, prediction: _Counts) -> FloatArray:
    """Intersection over union, NaN where the union is empty; any shape."""
    return _ratio(intersection, truth + prediction - intersection)


def _ratio(part: _Counts, whole: _Counts) -> FloatArray:
    """NaN where there is no whole."""
    with np.errstate(invalid="ignore", divide="ignore"):
        values: FloatArray = np.where(whole > 0, part / whole, np.nan)
    return values


def _listed(values: FloatArray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
