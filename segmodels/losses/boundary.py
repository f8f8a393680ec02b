"""Boundary: 1 - F1 between the borders of prediction and truth, within a few pixels (arXiv:1905.07852)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from segmodels.errors import ParamsError
from segmodels.losses import _regions
from segmodels.losses._outputs import Outputs
from segmodels.samples import Task


def build(_: Task, *, width_px: int = 3, tolerance_px: int = 5) -> _regions.Loss:
    """It says nothing about the inside of a region: sum it with another loss.

    Args:
        width_px: the window in which a pixel of another class makes a border, odd.
        tolerance_px: the window in which a border counts as found, odd.
    """
    for name, value in (("width_px", width_px), ("tolerance_px", tolerance_px)):
        if value < 3 or value % 2 == 0:
            raise ParamsError(f"losses.boundary: {name} is {value}; expected an odd number, 3 or more")

    def loss(outputs: Outputs) -> Tensor:
        valid = outputs.valid
        known = 1 - _spread(1 - valid, width_px)  # beside void nobody knows whether there is a border
        probability = outputs.log_probabilities.exp()
        found, true = (_border(one * valid, width_px) * known for one in (probability, outputs.truth_BCHW))
        over = (0, 2, 3)
        precision = (found * _spread(true, tolerance_px)).sum(over) / found.sum(over).clamp(min=1e-7)
        recall = (true * _spread(found, tolerance_px)).sum(over) / true.sum(over).clamp(min=1e-7)
        f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-7)
        present = true.sum(over) > 0
        return torch.where(present, 1 - f1, 0.0).sum() / present.sum().clamp(min=1)

    return loss


def _border(map_BCHW: Tensor, width_px: int) -> Tensor:
    return _spread(1 - map_BCHW, width_px) - (1 - map_BCHW)


def _spread(map_BCHW: Tensor, width_px: int) -> Tensor:
    return F.max_pool2d(map_BCHW, width_px, stride=1, padding=width_px // 2)
