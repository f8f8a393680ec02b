"""PAN: pyramid attention on the deepest features, which then guides finer ones channel by channel (arXiv:1805.10180)."""

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
    output_stride: Literal[16, 32] = 16,
    channels: int = 32,
) -> nn.Module:
    """`output_stride` of the encoder's last features; `channels` is the decoder's width."""
    network = _smp.network(
        smp.PAN,
        encoder=encoder,
        weights=weights,
        in_channels=in_channels,
        num_classes=num_classes,
        encoder_output_stride=output_stride,
        decoder_channels=channels,
    )
    network.min_size_px = 8 * output_stride  # type: ignore[assignment]  # the attention halves the last features three times
    return network
