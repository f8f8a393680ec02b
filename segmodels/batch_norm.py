"""Batch normalisation that also trains where there is nothing to normalise over: one value a channel."""

import types

from torch import Tensor, nn


class _OfOneValue(nn.BatchNorm2d):
    """A batch of one image pooled to one pixel is normalised by the running statistics, as in prediction.

    torch refuses it in training: the variance of one value is 0, and normalised it would be 0 whatever it was.
    """

    def forward(self, features_BCHW: Tensor) -> Tensor:
        if not self.training or features_BCHW.numel() > features_BCHW.shape[1]:
            return super().forward(features_BCHW)
        self.training = False
        try:
            return super().forward(features_BCHW)
        finally:
            self.training = True


def replace_in(network: nn.Module) -> None:
    """Have every nn.BatchNorm2d do so, and what is derived from it, such as timm's with an activation; all else of them stays."""
    kinds: dict[type[nn.BatchNorm2d], type[nn.BatchNorm2d]] = {}
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and not isinstance(module, _OfOneValue):
            kind = type(module)
            if kind not in kinds:
                kinds[kind] = types.new_class(kind.__name__, (_OfOneValue, kind))
            module.__class__ = kinds[kind]
