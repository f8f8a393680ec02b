"""Focal loss: cross-entropy that fades where the network is sure, so that many easy pixels do not drown few hard ones (arXiv:1708.02002)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from segmodels.errors import ParamsError
from segmodels.losses import _targets
from segmodels.samples import Task


def build(task: Task, *, gamma: float = 2.0, class_weights: Sequence[float] | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """-(1 - p)^gamma log p of the true answer's probability p, averaged over the pixels.

    Args:
        gamma: how fast it fades; 0 is cross-entropy.
        class_weights: how much a pixel counts, by its true class; of the sigmoid tasks how much a "yes" counts against a "no".
    """
    if gamma < 0:
        raise ParamsError(f"losses.focal: gamma is {gamma}; expected 0 or more")
    _targets.refuse_negative("losses.focal", class_weights)

    def loss(logits_BCHW: Tensor, target: Tensor) -> Tensor:
        truth_BCHW, valid = _targets.dense(target, logits_BCHW.shape[1], task)
        weights_C11 = torch.ones(1, 1, 1, device=logits_BCHW.device)
        if class_weights is not None:
            if len(class_weights) != logits_BCHW.shape[1]:
                raise ParamsError(
                    f"losses.focal: class_weights has {len(class_weights)} values; expected {logits_BCHW.shape[1]}, one a class"
                )
            weights_C11 = logits_BCHW.new_tensor(class_weights)[:, None, None]
        log_yes = _targets.log_probabilities(logits_BCHW, task)
        each = truth_BCHW * weights_C11 * _fading(log_yes, gamma)
        if task != "multiclass":
            each = each + (1 - truth_BCHW) * _fading(_targets.log_probabilities(-logits_BCHW, task), gamma)
        return (each * valid).sum() / valid.sum().clamp(min=1)

    return loss


def _fading(log_probability: Tensor, gamma: float) -> Tensor:
    return -((1 - log_probability.exp()).clamp(min=1e-7) ** gamma) * log_probability  # at 0 a power below 1 has no slope
