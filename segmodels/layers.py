"""Layers of torch that do not train everywhere, or not rightly, replaced by ones that do. Weights and names stay as they are."""

import types

import torch
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


class _DilatedInGroups(nn.Conv2d):
    """Is computed in float32 where a CPU would train it in bfloat16.

    There torch (2.15) leaves the gradient of its weights as it found the memory: noise, or no numbers at all. See docs/decisions/0012.
    """

    def forward(self, features_BCHW: Tensor) -> Tensor:
        on_cpu = features_BCHW.device.type == "cpu"
        if not (on_cpu and torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()):
            return super().forward(features_BCHW)
        with torch.autocast("cpu", enabled=False):
            return super().forward(features_BCHW.float())


def replace_in(network: nn.Module) -> None:
    """Replace every layer of these kinds, and what is derived from them, such as timm's normalisation with an activation."""
    kinds: dict[type[nn.Module], type[nn.Module]] = {}
    for module in network.modules():
        kind = type(module)
        first = _wanted(module)
        if first is not None and not issubclass(kind, first):
            if kind not in kinds:
                kinds[kind] = types.new_class(kind.__name__, (first, kind))
            module.__class__ = kinds[kind]


def _wanted(module: nn.Module) -> type[nn.Module] | None:
    if isinstance(module, nn.BatchNorm2d):
        return _OfOneValue
    if isinstance(module, nn.Conv2d) and module.groups > 1 and max(module.dilation) > 1:
        return _DilatedInGroups
    return None
