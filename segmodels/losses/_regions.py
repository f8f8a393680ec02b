"""What the losses on regions share: the overlap of probabilities and truth, class by class."""

from collections.abc import Callable

import torch
from torch import Tensor

from segmodels.losses import _targets
from segmodels.samples import Task

Loss = Callable[[Tensor, Tensor], Tensor]
Index = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From intersection, sum of probabilities and sum of truth, each (C,), to an index of overlap, 1 where all is right."""


def loss(task: Task, index: Index) -> Loss:
    """1 - index, averaged over the classes that the batch's truth has: an absent one has no overlap to be better at."""

    def of(logits_BCHW: Tensor, target: Tensor) -> Tensor:
        intersection, probability, truth = sums(logits_BCHW, target, task)
        present = truth > 0
        below = torch.where(present, 1 - index(intersection, probability, truth), 0.0)
        return below.sum() / present.sum().clamp(min=1)

    return of


def sums(logits_BCHW: Tensor, target: Tensor, task: Task) -> tuple[Tensor, Tensor, Tensor]:
    """Over all pixels of the batch that are not void, each (C,): probability where true, probability, truth."""
    truth_BCHW, valid_BCHW = _targets.dense(target, logits_BCHW.shape[1], task)
    probability_BCHW = _targets.log_probabilities(logits_BCHW, task).exp() * valid_BCHW
    over = (0, 2, 3)
    return (probability_BCHW * truth_BCHW).sum(over), probability_BCHW.sum(over), truth_BCHW.sum(over)
