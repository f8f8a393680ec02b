"""Dice: 1 - 2 |overlap| / (|prediction| + |truth|), class by class, whatever their sizes (arXiv:1606.04797, without its squares)."""

from torch import Tensor

from segmodels.losses import _regions
from segmodels.samples import Task


def build(_: Task, *, smooth: float = 0.0) -> _regions.Loss:
    """`smooth` is added to both sides of the fraction."""

    def index(intersection_C: Tensor, probability_C: Tensor, truth_C: Tensor) -> Tensor:
        return (2 * intersection_C + smooth) / (probability_C + truth_C + smooth).clamp(min=1e-7)

    return _regions.loss(index)
