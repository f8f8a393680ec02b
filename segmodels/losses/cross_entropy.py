"""Cross-entropy over the pixels that are not void."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from segmodels.samples import IGNORE_INDEX


def build(*, label_smoothing: float = 0.0) -> Callable[[Tensor, Tensor], Tensor]:
    """`label_smoothing` is the share of each target spread evenly over all classes (arXiv:1512.00567)."""

    def loss(logits_BCHW: Tensor, target_BHW: Tensor) -> Tensor:
        total = F.cross_entropy(
            logits_BCHW, target_BHW, ignore_index=IGNORE_INDEX, label_smoothing=label_smoothing, reduction="sum"
        )
        # the library's mean is 0 / 0 = NaN where everything is void
        return total / (target_BHW != IGNORE_INDEX).sum().clamp(min=1)

    return loss
