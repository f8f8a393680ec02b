"""The softmax of every pixel, reduced to what losses need of it: on a CPU some pixels at a time, so that it never leaves the cache.

Written out it is as large as the logits, and each of a dozen operations on it, forward and backward, would read and write all of that.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segmodels.samples import IGNORE_INDEX

VALUES = 2**18
"""Logits at a time: a megabyte of float32."""


class Softmax(NamedTuple):
    """`log_true_BHW`: the logarithm of the true class's probability, 0 where void; the others are sums over all pixels that are not void:
    of the true class's probability, where it is this one, and of every class's."""

    log_true_BHW: Tensor
    intersection_C: Tensor
    probability_C: Tensor


def of(logits_BCHW: Tensor, target_BHW: Tensor) -> Softmax:
    """`target_BHW`: class indices, or IGNORE_INDEX."""
    if logits_BCHW.device.type == "cpu":
        return Softmax(*_InParts.apply(logits_BCHW, target_BHW))
    return whole(logits_BCHW, target_BHW)


def whole(logits_BCHW: Tensor, target_BHW: Tensor) -> Softmax:
    """The same at once, for a GPU."""
    valid_BHW = target_BHW != IGNORE_INDEX
    known_B1HW = (target_BHW * valid_BHW)[:, None]
    log_BCHW = F.log_softmax(logits_BCHW, dim=1)
    log_true_BHW = log_BCHW.gather(1, known_B1HW)[:, 0] * valid_BHW
    probability_BCHW = log_BCHW.exp() * valid_BHW[:, None]
    truth_BCHW = torch.zeros_like(probability_BCHW).scatter_(1, known_B1HW, 1.0)
    over = (0, 2, 3)
    return Softmax(log_true_BHW, (probability_BCHW * truth_BCHW).sum(over), probability_BCHW.sum(over))


class _InParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_BCHW: Tensor, target_BHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(logits_BCHW, target_BHW)
        log_true_BHW = torch.zeros_like(target_BHW, dtype=logits_BCHW.dtype)
        intersection_C, probability_C = (logits_BCHW.new_zeros(logits_BCHW.shape[1]) for _ in range(2))
        for part, logits_CN, true_N, valid_N in _parts(logits_BCHW, target_BHW):
            probability_CN, log_sum_N = _normalised(logits_CN)
            found_N = probability_CN.gather(0, true_N[None])[0] * valid_N
            _pixels(log_true_BHW)[part] = (logits_CN.gather(0, true_N[None])[0] - log_sum_N) * valid_N
            intersection_C.index_add_(0, true_N, found_N)
            probability_C += probability_CN @ valid_N
        return log_true_BHW, intersection_C, probability_C

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        logits_BCHW, target_BHW = ctx.saved_tensors
        by_log_true_BHW, by_intersection_C, by_probability_C = slopes
        slope_BCHW = torch.empty_like(logits_BCHW, memory_format=torch.channels_last)  # whose rows are a view
        for part, logits_CN, true_N, valid_N in _parts(logits_BCHW, target_BHW):
            probability_CN, _ = _normalised(logits_CN)
            found_N = probability_CN.gather(0, true_N[None])
            by_log_N, by_found_N = _pixels(by_log_true_BHW)[part], by_intersection_C[true_N] * found_N[0]
            along_N = by_probability_C @ probability_CN + by_found_N + by_log_N
            slope_CN = probability_CN * (by_probability_C[:, None] - along_N)
            slope_CN.scatter_add_(0, true_N[None], (by_found_N + by_log_N)[None])
            _rows(slope_BCHW)[part] = (slope_CN * valid_N).T
        return slope_BCHW, None


def _parts(logits_BCHW: Tensor, target_BHW: Tensor) -> Any:
    """Which pixels, their logits with the classes first, their classes (0 where void), and whether they are known."""
    rows_PC, target_P = _rows(logits_BCHW), _pixels(target_BHW)
    count = max(1, VALUES // rows_PC.shape[1])
    for start in range(0, len(target_P), count):
        part = slice(start, start + count)
        valid_N = target_P[part] != IGNORE_INDEX
        # with the classes first, what is done to one is done to many neighbours at once
        yield part, rows_PC[part].T.contiguous(), target_P[part] * valid_N, valid_N.to(rows_PC.dtype)


def _normalised(logits_CN: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities, and the logarithm of what the exponentials sum up to."""
    highest_N = logits_CN.amax(dim=0)
    raised_CN = (logits_CN - highest_N).exp_()
    sum_N = raised_CN.sum(dim=0)
    return raised_CN.div_(sum_N), sum_N.log() + highest_N


def _rows(maps_BCHW: Tensor) -> Tensor:
    """Pixel by pixel, P x C: a view of channels-last."""
    return maps_BCHW.permute(0, 2, 3, 1).reshape(-1, maps_BCHW.shape[1])


def _pixels(map_BHW: Tensor) -> Tensor:
    return map_BHW.reshape(-1)
