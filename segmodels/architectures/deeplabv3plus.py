"""DeepLabV3+: DeepLabV3 with separable convolutions, and a decoder that takes features at 1/4 back in (arXiv:1802.02611)."""

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
    output_stride: Literal[8, 16] = 16,
    channels: int = 256,
    rates: Sequence[int] = (6, 12, 18),
    dropout: float = 0.5,
) -> nn.Module:
    """`rates` are ASPP's dilations at `output_stride` 16 (the paper's); at 8 twice as large ones see as far. `channels` is its width."""
    return _smp.network(
        smp.DeepLabV3Plus,
        encoder=encoder,
        weights=weights,
        in_channels=in_channels,
        num_classes=num_classes,
        encoder_output_stride=output_stride,
        decoder_channels=channels,
        decoder_atrous_rates=tuple(rates),
        decoder_aspp_dropout=dropout,
    )
