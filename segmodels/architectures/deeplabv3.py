"""DeepLabV3: a dilated encoder, and atrous convolutions of several rates side by side, ASPP (arXiv:1706.05587)."""

from collections.abc import Sequence
from typing import Literal

import segmentation_models_pytorch as smp
from torch import nn

from segmodels.architectures import _smp


def build(
    in_channels: int,
    num_classes: int,
    *,
    encoder: str = "resnet18",
    weights: str | None = None,
    output_stride: Literal[8, 16] = 8,
    channels: int = 256,
    rates: Sequence[int] = (12, 24, 36),
    dropout: float = 0.5,
) -> nn.Module:
    """`rates` are ASPP's dilations at `output_stride` 8 (the paper's); at 16 half of them see as far. `channels` is its width."""
    return _smp.network(
        smp.DeepLabV3,
        encoder=encoder,
        weights=weights,
        in_channels=in_channels,
        num_classes=num_classes,
        encoder_output_stride=output_stride,
        decoder_channels=channels,
        decoder_atrous_rates=tuple(rates),
        decoder_aspp_dropout=dropout,
    )
