"""Focal loss: cross-entropy that fades where the network is sure, so that many easy pixels do not drown few hard ones (arXiv:1708.02002)."""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

from segmodels.errors import ParamsError
from segmodels.losses import _outputs
from segmodels.losses._outputs import Outputs
from segmodels.samples import Task


def build(task: Task, *, gamma: float = 2.0, class_weights: Sequence[float] | None = None) -> Callable[[Outputs], Tensor]:
    """-(1 - p)^gamma log p of the true answer's probability p, averaged over the pixels.

    Args:
        gamma: how fast it fades; 0 is cross-entropy.
        class_weights: how much a pixel counts, by its true class; of the sigmoid tasks how much a "yes" counts against a "no".
    """
    if gamma < 0:
        raise ParamsError(f"losses.focal: gamma is {gamma}; expected 0 or more")
    _outputs.refuse_negative("losses.focal", class_weights)

    def loss(outputs: Outputs) -> Tensor:
        weights_C = _outputs.weights_of("losses.focal", class_weights, outputs)
        if task == "multiclass":
            each = _fading(outputs.log_probability_of_truth_BHW, gamma)  # 0 where void
            if weights_C is not None:
                each = each * weights_C[outputs.known]
        else:
            yes, no = (_fading(F.logsigmoid(sign * outputs.logits_BCHW), gamma) for sign in (1, -1))
            if weights_C is not None:
                yes = yes * weights_C[:, None, None]
            each = (outputs.truth_BCHW * yes + (1 - outputs.truth_BCHW) * no) * outputs.valid
        return each.sum() / outputs.valid.sum().clamp(min=1)

    return loss


def _fading(log_probability: Tensor, gamma: float) -> Tensor:
    return -((1 - log_probability.exp()).clamp(min=1e-7) ** gamma) * log_probability  # at 0 a power below 1 has no slope
