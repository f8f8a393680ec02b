"""How probable a class must be to be said, where an image has it or not: what scores best on the validation images."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from segmodels.batches import Batch
from segmodels.labels import Labels
from segmodels.logits import labelling_of
from segmodels.metrics import iou
from segmodels.samples import IGNORE_INDEX, FloatArray, Int64Array

STEPS = np.linspace(0.05, 0.95, 19)
"""What is tried. Beyond, a few pixels decide."""


@torch.no_grad()
def choose(batches: Iterable[Batch], logits_of: Callable[[Tensor], Tensor], labels: Labels) -> list[float] | None:
    """One for each logit, None where classes exclude each other.

    For `binary` it is the one with the best mean IoU of both classes, for `multilabel` by class the one with its best IoU. A class that no
    image shows keeps one half, and so does one for which half is as good.
    """
    if labels.task == "multiclass":
        return None
    counts = np.zeros((labels.num_logits, len(STEPS) + 1, 2), np.int64)
    for images, masks in batches:
        truth = labelling_of(masks, labels)
        truth_BLHW = truth[:, None] if labels.task == "binary" else truth
        probable_BLHW = logits_of(images).float().sigmoid().cpu().numpy()
        for index in range(labels.num_logits):
            there = truth_BLHW[:, index].cpu().numpy().reshape(-1)
            known = there != IGNORE_INDEX
            reached = np.searchsorted(STEPS, probable_BLHW[:, index].reshape(-1)[known])  # how many steps it lies above
            cells = np.bincount(2 * reached + there[known], minlength=2 * (len(STEPS) + 1))
            counts[index] += cells.reshape(-1, 2)
    return [_best(one, both=labels.task == "binary") for one in counts]


def _best(counts: Int64Array, *, both: bool) -> float:
    """From pixels by how many of the steps their probability lies above, and by whether the class is there."""
    # said at step s: what lies above more than s steps
    said = counts[::-1].cumsum(axis=0)[::-1][1:]
    total = counts.sum(axis=0)
    if total[1] == 0:
        return 0.5
    scores: FloatArray = iou(said[:, 1], np.full(len(STEPS), total[1]), said.sum(axis=1))
    if both:
        right = total[0] - said[:, 0]
        background = iou(right, np.full(len(STEPS), total[0]), total.sum() - said.sum(axis=1))
        scores = np.nanmean([scores, background], axis=0)  # there is none of it where it is neither there nor said
    best = np.flatnonzero(scores >= np.nanmax(scores) - 1e-12)
    return float(STEPS[best[np.argmin(np.abs(STEPS[best] - 0.5))]].round(2))
