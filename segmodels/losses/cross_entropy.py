"""Cross-entropy over the pixels that are not void: weighted, smoothed, on the hard ones only, as asked."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segmodels.errors import ParamsError
from segmodels.losses import _outputs
from segmodels.losses._outputs import Outputs
from segmodels.samples import IGNORE_INDEX, Task


def build(
    task: Task, *, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0, hard_share: float = 1.0
) -> Callable[[Outputs], Tensor]:
    """Softmax for `multiclass`, sigmoid for `binary` and `multilabel`.

    Args:
        class_weights: how much a pixel counts, by its true class; of the sigmoid tasks how much a "yes" counts against a "no".
        label_smoothing: the share of each target spread evenly over all answers (arXiv:1512.00567).
        hard_share: the share of the pixels, those with the highest loss, that is learned from (arXiv:1605.06885).
    """
    if not 0 < hard_share <= 1:
        raise ParamsError(f"losses.cross_entropy: hard_share is {hard_share}; expected more than 0 and at most 1")
    if not 0 <= label_smoothing < 1:
        raise ParamsError(f"losses.cross_entropy: label_smoothing is {label_smoothing}; expected 0 or more, and less than 1")
    _outputs.refuse_negative("losses.cross_entropy", class_weights)

    def loss(outputs: Outputs) -> Tensor:
        weights_C = _outputs.weights_of("losses.cross_entropy", class_weights, outputs)
        each, weight = (_softmax if task == "multiclass" else _sigmoid)(outputs, weights_C, label_smoothing)
        if hard_share < 1:
            each, weight = _hardest(each.flatten(), weight.flatten(), hard_share)
        # the library's mean is 0 / 0 = NaN where everything is void
        return each.sum() / weight.sum().clamp(min=1e-7)

    return loss


def _softmax(outputs: Outputs, weights_C: Tensor | None, smoothing: float) -> tuple[Tensor, Tensor]:
    """The loss of every pixel, 0 where void, and its weight."""
    valid_BHW = outputs.valid[:, 0]
    if smoothing:
        each_BHW = F.cross_entropy(
            outputs.logits_BCHW,
            outputs.target,
            weight=weights_C,
            ignore_index=IGNORE_INDEX,
            label_smoothing=smoothing,
            reduction="none",
        )
    else:
        each_BHW = -outputs.log_probability_of_truth_BHW
    if weights_C is None:
        return each_BHW, valid_BHW
    weight_BHW = weights_C[outputs.known] * valid_BHW
    if smoothing:
        return each_BHW * (weight_BHW > 0), weight_BHW  # smoothed, the loss of a class without weight is not 0
    return each_BHW * weight_BHW, weight_BHW


def _sigmoid(outputs: Outputs, weights_C: Tensor | None, smoothing: float) -> tuple[Tensor, Tensor]:
    softened = outputs.truth_BCHW * (1 - smoothing) + smoothing / 2
    factor_C11 = None if weights_C is None else weights_C[:, None, None]
    each = F.binary_cross_entropy_with_logits(outputs.logits_BCHW, softened, pos_weight=factor_C11, reduction="none")
    return each * outputs.valid, outputs.valid


def _hardest(each_N: Tensor, weight_N: Tensor, share: float) -> tuple[Tensor, Tensor]:
    valid_N = weight_N > 0
    count = int((valid_N.sum() * share).ceil())
    chosen = torch.where(valid_N, each_N, -1.0).topk(count).indices
    return each_N[chosen], weight_N[chosen]
