"""U-Net++: a U-Net whose skips are dense pyramids of convolutions (arXiv:1807.10165)."""

from collections.abc import Sequence

import segmentation_models_pytorch as smp
from torch import nn

from segmodels.architectures import _smp


def build(
    in_channels: int,
    num_classes: int,
    *,
    encoder: str = "resnet18",
    weights: str | None = None,
    decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
) -> nn.Module:
    """`decoder_channels` go from the deepest scale to the image's own."""
    return _smp.network(
        smp.UnetPlusPlus,
        encoder=encoder,
        weights=weights,
        in_channels=in_channels,
        num_classes=num_classes,
        depth=len(decoder_channels),
        decoder_channels=tuple(decoder_channels),
    )
