"""The softmax of every pixel, reduced to what losses need of it, some pixels at a time, so that it is never written out.

It is as large as the logits, and each of a dozen operations on it, forward and backward, would read and write all of that:
`benchmarks/training.py loss`. On a GPU they are quick as they are.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segmodels.samples import IGNORE_INDEX

VALUES = 2**20
"""Logits at a time."""
MANY = 20
"""Classes of which torch's cross-entropy takes half the time with a pixel's logits beside each other; of few it takes twice as long."""


class Softmax(NamedTuple):
    """`log_true_BHW`: the logarithm of the true class's probability, 0 where void; the others are sums over all pixels that are not void:
    of the true class's probability, where it is this one, and of every class's."""

    log_true_BHW: Tensor
    intersection_C: Tensor
    probability_C: Tensor


def of(logits_BCHW: Tensor, target_BHW: Tensor) -> Softmax:
    """`logits_BCHW` of any float, computed in float32; `target_BHW`: class indices, or IGNORE_INDEX."""
    precise = torch.promote_types(logits_BCHW.dtype, torch.float32)
    # with a class's logits beside each other, what is done to one pixel is done to many at once
    planes_BCHW = logits_BCHW.to(precise, memory_format=torch.contiguous_format)
    log_true_BP, intersection_C, probability_C = _InParts.apply(planes_BCHW.flatten(2), target_BHW.flatten(1))
    return Softmax(log_true_BP.view_as(target_BHW), intersection_C, probability_C)


def log_true(logits_BCHW: Tensor, target_BHW: Tensor) -> Tensor:
    """The first of these alone, which torch has: quicker where nothing else is asked for."""
    if logits_BCHW.device.type != "cpu" or logits_BCHW.shape[1] < MANY:
        return -F.cross_entropy(logits_BCHW, target_BHW, ignore_index=IGNORE_INDEX, reduction="none")
    rows_PC = logits_BCHW.permute(0, 2, 3, 1).flatten(0, 2)
    return -F.cross_entropy(rows_PC, target_BHW.flatten(), ignore_index=IGNORE_INDEX, reduction="none").view_as(target_BHW)


class _InParts(torch.autograd.Function):
    """Logits B x C x P, target B x P."""

    @staticmethod
    def forward(ctx: Any, logits_BCP: Tensor, target_BP: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        valid_BP = (target_BP != IGNORE_INDEX).to(logits_BCP.dtype)
        known_BP = target_BP * (target_BP != IGNORE_INDEX)
        ctx.save_for_backward(logits_BCP, known_BP, valid_BP)
        log_true_BP = torch.zeros_like(valid_BP)
        intersection_C, probability_C = (logits_BCP.new_zeros(logits_BCP.shape[1]) for _ in range(2))
        for image, pixels in _parts(logits_BCP):
            logits_CN, known_N, valid_N = logits_BCP[image, :, pixels], known_BP[image, pixels], valid_BP[image, pixels]
            raised_CN, sum_N, highest_N = _raised(logits_CN)
            probability_C.addmv_(raised_CN, valid_N / sum_N)
            log_N = logits_CN.gather(0, known_N[None])[0] - highest_N - sum_N.log()
            torch.mul(log_N, valid_N, out=log_true_BP[image, pixels])
            intersection_C.index_add_(0, known_N, log_N.exp() * valid_N)
        return log_true_BP, intersection_C, probability_C

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        logits_BCP, known_BP, valid_BP = ctx.saved_tensors
        by_log_true_BP, by_intersection_C, by_probability_C = slopes
        slope_BCP = torch.empty_like(logits_BCP)
        for image, pixels in _parts(logits_BCP):
            known_N, valid_N = known_BP[image, pixels], valid_BP[image, pixels]
            probability_CN, sum_N, _ = _raised(logits_BCP[image, :, pixels])
            probability_CN /= sum_N
            true_N = probability_CN.gather(0, known_N[None])[0]
            by_true_N = (by_intersection_C[known_N] * true_N + by_log_true_BP[image, pixels]) * valid_N
            along_N = (by_probability_C @ probability_CN) * valid_N + by_true_N
            slope_CN = slope_BCP[image, :, pixels]
            torch.mul(probability_CN, torch.outer(by_probability_C, valid_N).sub_(along_N), out=slope_CN)
            slope_CN.scatter_add_(0, known_N[None], by_true_N[None])
        return slope_BCP, None


def _parts(logits_BCP: Tensor) -> Iterator[tuple[int, slice]]:
    """Images, and which of their pixels."""
    images, classes, pixels = logits_BCP.shape
    count = max(1, VALUES // classes)
    for image in range(images):
        for start in range(0, pixels, count):
            yield image, slice(start, start + count)


def _raised(logits_CN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Exponentials over that of the highest logit, what they sum up to, and the highest."""
    highest_N = logits_CN.amax(dim=0)
    raised_CN = (logits_CN - highest_N).exp_()
    return raised_CN, raised_CN.sum(dim=0), highest_N
