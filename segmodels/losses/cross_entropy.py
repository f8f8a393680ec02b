"""Cross-entropy over the pixels that are not void: weighted, smoothed, on the hard ones only, as asked."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segmodels.errors import ParamsError
from segmodels.losses import _targets
from segmodels.samples import IGNORE_INDEX, Task


def build(
    task: Task, *, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0, hard_share: float = 1.0
) -> Callable[[Tensor, Tensor], Tensor]:
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
    _targets.refuse_negative("losses.cross_entropy", class_weights)

    def loss(logits_BCHW: Tensor, target: Tensor) -> Tensor:
        weights = None if class_weights is None else logits_BCHW.new_tensor(class_weights)
        if weights is not None and len(weights) != logits_BCHW.shape[1]:
            raise ParamsError(
                f"losses.cross_entropy: class_weights has {len(weights)} values; expected {logits_BCHW.shape[1]}, one a class"
            )
        if task == "multiclass":
            each, weight = _softmax(logits_BCHW, target, weights, label_smoothing)
        else:
            each, weight = _sigmoid(logits_BCHW, target, task, weights, label_smoothing)
        if hard_share < 1:
            each, weight = _hardest(each.flatten(), weight.flatten(), hard_share)
        # the library's mean is 0 / 0 = NaN where everything is void
        return each.sum() / weight.sum().clamp(min=1e-7)

    return loss


def _softmax(logits_BCHW: Tensor, target_BHW: Tensor, weights: Tensor | None, smoothing: float) -> tuple[Tensor, Tensor]:
    """The loss of every pixel, 0 where void, and its weight."""
    each_BHW = F.cross_entropy(
        logits_BCHW, target_BHW, weight=weights, ignore_index=IGNORE_INDEX, label_smoothing=smoothing, reduction="none"
    )
    valid_BHW = target_BHW != IGNORE_INDEX
    if weights is None:
        return each_BHW, valid_BHW.float()
    weight_BHW = weights[target_BHW * valid_BHW] * valid_BHW
    return each_BHW * (weight_BHW > 0), weight_BHW  # smoothed, the loss of a class without weight is not 0


def _sigmoid(logits_BCHW: Tensor, target: Tensor, task: Task, weights: Tensor | None, smoothing: float) -> tuple[Tensor, Tensor]:
    truth_BCHW, valid = _targets.dense(target, logits_BCHW.shape[1], task)
    softened = truth_BCHW * (1 - smoothing) + smoothing / 2
    factor_C11 = None if weights is None else weights[:, None, None]
    each = F.binary_cross_entropy_with_logits(logits_BCHW, softened, pos_weight=factor_C11, reduction="none")
    return each * valid, valid


def _hardest(each_N: Tensor, weight_N: Tensor, share: float) -> tuple[Tensor, Tensor]:
    valid_N = weight_N > 0
    count = int((valid_N.sum() * share).ceil())
    chosen = torch.where(valid_N, each_N, -1.0).topk(count).indices
    return each_N[chosen], weight_N[chosen]
