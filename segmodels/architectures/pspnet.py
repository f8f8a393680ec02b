"""PSPNet: the encoder's features pooled over 1, 2, 3 and 6 bins a side tell every pixel what the whole scene is (arXiv:1612.01105)."""

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from segmodels.architectures import _smp
from segmodels.architectures._pyramid import PyramidPooling
from segmodels.errors import InputError


def build(
    in_channels: int,
    num_classes: int,
    *,
    encoder: str = "resnet18",
    weights: str | None = None,
    depth: Literal[2, 3, 4, 5] = 5,
    output_stride: Literal[8, 16, 32] = 8,
    channels: int = 512,
    dropout: float = 0.1,
    auxiliary: float = 0.4,
) -> nn.Module:
    """The paper's network is deep and costly: `depth: 3` cuts the encoder at stride 8, which is small and quick.

    Args:
        depth: stages of the encoder: each halves the size, as far as `output_stride` lets it.
        output_stride: of the last features. Where it is below 2 ^ depth, the deep stages are dilated instead.
        channels: the width after the pyramid.
        auxiliary: the weight of the loss on the stage before the last, 0 for none.
    """
    dilated = output_stride if output_stride < 2**depth else 32
    built = _smp.encoder(encoder, weights=weights, in_channels=in_channels, depth=depth, output_stride=dilated)
    network = _PSPNet(built, num_classes, channels=channels, dropout=dropout, auxiliary=auxiliary)
    if depth < 5:
        _smp.drop_unused(network, in_channels)
    return network


class _PSPNet(nn.Module):
    def __init__(self, encoder: nn.Module, num_classes: int, *, channels: int, dropout: float, auxiliary: float) -> None:
        super().__init__()
        self.encoder = encoder
        *_, before, last = encoder.out_channels  # type: ignore[misc]  # a list
        if auxiliary and before == 0:
            raise InputError("depth: the encoder has no features before its last ones; raise it, or set auxiliary: 0")
        self.pyramid = PyramidPooling(last)
        self.head = _head(self.pyramid.out_channels, channels, num_classes, dropout)
        self.auxiliary_weight = auxiliary
        self.auxiliary = _head(before, max(before // 4, num_classes), num_classes, dropout) if auxiliary else None

    def forward(self, images_BCHW: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        features = self.encoder(images_BCHW)
        size = images_BCHW.shape[-2:]
        if not self.training:  # and not exported
            return _scaled(self.head(self.pyramid(features[-1])), size)
        found = self.pyramid.convolved(features[-1], self.head[0])  # type: ignore[arg-type]  # the convolution
        logits_BCHW = _scaled(self.head[1:](found), size)
        if self.auxiliary is None:
            return logits_BCHW
        return logits_BCHW, _scaled(self.auxiliary(features[-2]), size)


def _head(in_channels: int, channels: int, num_classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Dropout2d(dropout),
        nn.Conv2d(channels, num_classes, 1),
    )


def _scaled(logits_BCHW: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(logits_BCHW, size=tuple(size), mode="bilinear", align_corners=False)
