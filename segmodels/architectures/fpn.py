"""FPN: features of all scales brought to one width and added up from the top (arXiv:1612.03144, 1901.02446)."""

import segmentation_models_pytorch as smp
from torch import nn

from segmodels.architectures import _smp


def build(
    in_channels: int,
    num_classes: int,
    *,
    encoder: str = "resnet18",
    weights: str | None = None,
    pyramid_channels: int = 256,
    channels: int = 128,
    dropout: float = 0.2,
) -> nn.Module:
    """`pyramid_channels` is the width of every scale, `channels` that of the segmentation branch."""
    return _smp.network(
        smp.FPN,
        encoder=encoder,
        weights=weights,
        in_channels=in_channels,
        num_classes=num_classes,
        decoder_pyramid_channels=pyramid_channels,
        decoder_segmentation_channels=channels,
        decoder_dropout=dropout,
    )
