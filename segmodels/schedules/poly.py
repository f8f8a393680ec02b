"""Polynomial decay to zero: rate x (1 - step / total) ^ power, as DeepLab trains (arXiv:1606.00915)."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, PolynomialLR


def build(optimizer: Optimizer, total_steps: int, *, power: float = 0.9) -> LRScheduler:
    return PolynomialLR(optimizer, total_iters=total_steps, power=power)
