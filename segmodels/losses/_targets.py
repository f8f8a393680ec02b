"""The three tasks brought to one form: probabilities, truth and validity, each B x C x H x W."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segmodels.errors import ParamsError
from segmodels.samples import IGNORE_INDEX, Task


def refuse_negative(loss: str, class_weights: Sequence[float] | None) -> None:
    """Refuse weights with which a loss would fall as the network gets worse."""
    if class_weights is not None and not (all(0 <= one < math.inf for one in class_weights) and any(class_weights)):
        raise ParamsError(f"{loss}: class_weights are {list(class_weights)}; expected numbers of 0 or more, not all of them 0")


def log_probabilities(logits_BCHW: Tensor, task: Task) -> Tensor:
    """Of each class; of the sigmoid tasks those of "yes"."""
    return F.log_softmax(logits_BCHW, dim=1) if task == "multiclass" else F.logsigmoid(logits_BCHW)


def dense(target: Tensor, num_logits: int, task: Task) -> tuple[Tensor, Tensor]:
    """`truth` of 0 and 1, and `valid`, 0 where void, which has one channel where void holds for all classes."""
    if task == "multilabel":
        valid = target != IGNORE_INDEX
        return (target * valid).float(), valid.float()
    valid_B1HW = (target != IGNORE_INDEX)[:, None]
    known = target[:, None] * valid_B1HW
    if task == "binary":
        return known.float(), valid_B1HW.float()
    truth_BCHW = torch.zeros(target.shape[0], num_logits, *target.shape[1:], device=target.device)
    truth_BCHW.scatter_(1, known, valid_B1HW.float())
    return truth_BCHW, valid_B1HW.float()
