"""What the losses on regions share: the overlap of probabilities and truth, class by class."""

from collections.abc import Callable

import torch
from torch import Tensor

from segmodels.losses._outputs import Outputs

Loss = Callable[[Outputs], Tensor]
Index = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From intersection, sum of probabilities and sum of truth, each (C,), to an index of overlap, 1 where all is right."""


def loss(index: Index) -> Loss:
    """1 - index, averaged over the classes that the batch's truth has: an absent one has no overlap to be better at."""

    def of(outputs: Outputs) -> Tensor:
        intersection, probability, truth = outputs.sums
        present = truth > 0
        below = torch.where(present, 1 - index(intersection, probability, truth), 0.0)
        return below.sum() / present.sum().clamp(min=1)

    return of
