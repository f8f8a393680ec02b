"""Lovász: the convex extension of intersection over union, softmax or hinge (arXiv:1705.08790)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from segmodels.losses._outputs import Outputs
from segmodels.samples import Task


def build(task: Task) -> Callable[[Outputs], Tensor]:
    """Over the whole batch at once. Of classes that exclude each other those that its truth does not have are left out; of a class on
    its own that no pixel has, the worst false alarm counts.
    """

    def loss(outputs: Outputs) -> Tensor:
        truth_BCHW = outputs.truth_BCHW
        valid = outputs.valid.expand_as(truth_BCHW)
        if task == "multiclass":
            errors_BCHW = (truth_BCHW - outputs.log_probabilities.exp()).abs()
        else:
            errors_BCHW = F.relu(1 - outputs.logits_BCHW * (2 * truth_BCHW - 1))
        flat = [one.transpose(0, 1).flatten(1) for one in (errors_BCHW * valid, truth_BCHW)]
        each_C, present_C = _extension(*flat), flat[1].sum(dim=1) > 0
        if task != "multiclass":
            return each_C.mean()
        return torch.where(present_C, each_C, 0.0).sum() / present_C.sum().clamp(min=1)

    return loss


def _extension(errors_CN: Tensor, truth_CN: Tensor) -> Tensor:
    """The extension at the errors, (C,). A void pixel has no error and is no truth, and so adds nothing wherever it is sorted."""
    sorted_CN, order = errors_CN.sort(dim=1, descending=True)
    hit_CN = truth_CN.long().gather(1, order)  # of floats a GPU has no cumulative sum that is deterministic
    intersection_CN = hit_CN.sum(dim=1, keepdim=True) - hit_CN.cumsum(dim=1)
    union_CN = hit_CN.sum(dim=1, keepdim=True) + (1 - hit_CN).cumsum(dim=1)
    jaccard_CN = 1 - intersection_CN / union_CN.clamp(min=1)
    slope_CN = torch.diff(jaccard_CN, dim=1, prepend=torch.zeros_like(jaccard_CN[:, :1]))
    return (sorted_CN * slope_CN.detach()).sum(dim=1)
