"""MA-Net: a U-Net that weighs positions and channels by attention (doi:10.1109/ACCESS.2020.3025372)."""

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
    attention_channels: int = 64,
) -> nn.Module:
    """`decoder_channels` go from the deepest scale to the image's own; `attention_channels` is the width of the position attention."""
    return _smp.network(
        smp.MAnet,
        encoder=encoder,
        weights=weights,
        in_channels=in_channels,
        num_classes=num_classes,
        depth=len(decoder_channels),
        decoder_channels=tuple(decoder_channels),
        decoder_pab_channels=attention_channels,
    )
