"""U-Net: an encoder, and a decoder that takes the encoder's features back in at every scale (arXiv:1505.04597)."""

import segmentation_models_pytorch as smp
from torch import nn

from segmodels.architectures import _smp


def build(
    in_channels: int,
    num_classes: int,
    *,
    encoder: str,
    weights: str | None,
    decoder_channels: tuple[int, ...] = (256, 128, 64, 32, 16),
) -> nn.Module:
    """`decoder_channels` go from the deepest scale to the image's own."""
    return _smp.build(
        smp.Unet,
        encoder=encoder,
        weights=weights,
        in_channels=in_channels,
        classes=num_classes,
        encoder_depth=len(decoder_channels),
        decoder_channels=tuple(decoder_channels),
    )
