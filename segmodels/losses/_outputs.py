"""What losses are computed from: logits with their truth. What several losses need of them is computed once."""

import math
from collections.abc import Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from segmodels.errors import ParamsError
from segmodels.losses import _softmax
from segmodels.samples import IGNORE_INDEX, Task


class Outputs:
    """The three tasks brought to one form.

    Attributes:
        target: as losses/__init__.py says.
    """

    def __init__(self, logits_BCHW: Tensor, target: Tensor, task: Task, *, shared: bool) -> None:
        """`logits_BCHW` of any float; `shared`: several losses will ask."""
        self._given_BCHW, self.target, self.task, self._shared = logits_BCHW, target, task, shared
        self.num_logits = logits_BCHW.shape[1]
        self._in_parts = task == "multiclass" and logits_BCHW.device.type == "cpu"

    @cached_property
    def logits_BCHW(self) -> Tensor:
        """float32, or what is more precise."""
        return self._given_BCHW.to(torch.promote_types(self._given_BCHW.dtype, torch.float32))

    @cached_property
    def valid(self) -> Tensor:
        """0 where void, else 1: B x C x H x W, with one channel where void holds for all classes."""
        valid = self.target != IGNORE_INDEX
        return (valid if self.task == "multilabel" else valid[:, None]).float()

    @cached_property
    def known(self) -> Tensor:
        """The target, 0 where void."""
        return self.target * (self.target != IGNORE_INDEX)

    @cached_property
    def truth_BCHW(self) -> Tensor:
        """0 and 1; 0 where void."""
        if self.task == "multilabel":
            return self.known.float()
        if self.task == "binary":
            return self.known[:, None].float()
        known, shape = self.known, self._given_BCHW.shape
        return torch.zeros(shape, device=known.device).scatter_(1, known[:, None], self.valid)

    @cached_property
    def log_probabilities(self) -> Tensor:
        """Of each class, B x C x H x W; of the sigmoid tasks those of "yes"."""
        return F.log_softmax(self.logits_BCHW, dim=1) if self.task == "multiclass" else F.logsigmoid(self.logits_BCHW)

    @cached_property
    def log_probability_of_truth_BHW(self) -> Tensor:
        """Of classes that exclude each other: of the true one; 0 where void."""
        if self._shared and self._in_parts:
            return self._softmax.log_true_BHW
        return _softmax.log_true(self.logits_BCHW, self.target)

    @cached_property
    def sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """Over all pixels of the batch that are not void, each (C,): probability where true, probability, truth."""
        if self._in_parts:
            true_C = torch.bincount(self.target.flatten(), minlength=IGNORE_INDEX + 1)[: self.num_logits]
            return self._softmax.intersection_C, self._softmax.probability_C, true_C.float()
        probability, over = self.log_probabilities.exp() * self.valid, (0, 2, 3)
        return (probability * self.truth_BCHW).sum(over), probability.sum(over), self.truth_BCHW.sum(over)

    @cached_property
    def _softmax(self) -> _softmax.Softmax:
        return _softmax.of(self._given_BCHW, self.target)


def refuse_negative(loss: str, class_weights: Sequence[float] | None) -> None:
    """Refuse weights with which a loss would fall as the network gets worse."""
    if class_weights is not None and not (all(0 <= one < math.inf for one in class_weights) and any(class_weights)):
        raise ParamsError(f"{loss}: class_weights are {list(class_weights)}; expected numbers of 0 or more, not all of them 0")


def weights_of(loss: str, class_weights: Sequence[float] | None, outputs: Outputs) -> Tensor | None:
    """The weights as a tensor, (C,).

    Raises:
        ParamsError: they are of another number of classes.
    """
    if class_weights is None:
        return None
    if len(class_weights) != outputs.num_logits:
        raise ParamsError(f"{loss}: class_weights has {len(class_weights)} values; expected {outputs.num_logits}, one a class")
    return torch.tensor(class_weights, dtype=torch.float32, device=outputs.target.device)
