"""SegFormer's decoder: every scale through one linear layer, joined (arXiv:2105.15203). `encoder: mit_b0` is the paper's."""

import segmentation_models_pytorch as smp
from torch import nn

from segmodels.architectures import _smp


def build(
    in_channels: int,
    num_classes: int,
    *,
    encoder: str = "resnet18",
    weights: str | None = None,
    channels: int = 256,
) -> nn.Module:
    """`channels` is the decoder's width."""
    return _smp.network(
        smp.Segformer,
        encoder=encoder,
        weights=weights,
        in_channels=in_channels,
        num_classes=num_classes,
        decoder_segmentation_channels=channels,
    )
