"""Jaccard: 1 - intersection over union with probabilities for pixels, the score itself made smooth (doi:10.1007/978-3-319-50835-1_22)."""

from torch import Tensor

from segmodels.losses import _regions
from segmodels.samples import Task


def build(_: Task, *, smooth: float = 0.0) -> _regions.Loss:
    """`smooth` is added to both sides of the fraction."""

    def index(intersection_C: Tensor, probability_C: Tensor, truth_C: Tensor) -> Tensor:
        return (intersection_C + smooth) / (probability_C + truth_C - intersection_C + smooth).clamp(min=1e-7)

    return _regions.loss(index)
