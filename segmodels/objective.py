"""What a training minimises: a loss of the catalog, or a weighted sum of several."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from segmodels import catalog
from segmodels.losses._outputs import Outputs
from segmodels.samples import Task

Loss = Callable[[Tensor, Tensor], Tensor]


class Term(NamedTuple):
    """One loss of the sum."""

    name: str
    options: dict[str, Any]
    weight: float = 1.0


def of(segmenter: nn.Module, loss: Loss, images_BCHW: Tensor, target: Tensor) -> Tensor:
    """The loss of a network on images, with that of its auxiliary head where it has one."""
    logits = segmenter(images_BCHW)
    if not isinstance(logits, tuple):
        return loss(logits, target)
    weight = float(segmenter.network.auxiliary_weight)  # type: ignore[union-attr, arg-type]
    return loss(logits[0], target) + weight * loss(logits[1], target)


def build(task: Task, terms: Sequence[Term]) -> Loss:
    """The sum of the terms, each times its weight.

    Raises:
        ParamsError: no such loss, or it refuses its options.
    """
    losses = [(term.weight, catalog.build("losses", term.name, task, options=term.options)) for term in terms]

    def loss(logits_BCHW: Tensor, target: Tensor) -> Tensor:
        outputs = Outputs(logits_BCHW, target, task, shared=len(losses) > 1)
        return sum((weight * one(outputs) for weight, one in losses), start=torch.zeros((), device=logits_BCHW.device))

    return loss
