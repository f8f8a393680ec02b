"""Tversky: Dice with false alarms and misses weighed apart (arXiv:1706.05721), and its focal form (arXiv:1810.07842)."""

from torch import Tensor

from segmodels.errors import ParamsError
from segmodels.losses import _regions
from segmodels.samples import Task


def build(_: Task, *, alpha: float = 0.3, beta: float = 0.7, gamma: float = 1.0) -> _regions.Loss:
    """A class's loss is (1 - index)^(1 / gamma).

    Args:
        alpha: weighs what is wrongly found.
        beta: weighs what is missed; both 0.5 is Dice.
        gamma: above 1 it keeps pushing where most of a class is right already.
    """
    if alpha < 0 or beta < 0 or alpha + beta == 0:
        raise ParamsError(f"losses.tversky: alpha is {alpha}, beta {beta}; expected 0 or more, and not both 0")
    if gamma <= 0:
        raise ParamsError(f"losses.tversky: gamma is {gamma}; expected more than 0")

    def index(intersection_C: Tensor, probability_C: Tensor, truth_C: Tensor) -> Tensor:
        found, missed = probability_C - intersection_C, truth_C - intersection_C
        tversky_C = intersection_C / (intersection_C + alpha * found + beta * missed).clamp(min=1e-7)
        return 1 - (1 - tversky_C).clamp(min=1e-7) ** (1 / gamma)  # at 0 the root has no slope

    return _regions.loss(index)
