"""LinkNet: a decoder that adds the encoder's features instead of joining them, to be light (arXiv:1707.03718)."""

import segmentation_models_pytorch as smp
from torch import nn

from segmodels.architectures import _smp


def build(
    in_channels: int,
    num_classes: int,
    *,
    encoder: str = "resnet18",
    weights: str | None = None,
    depth: int = 5,
) -> nn.Module:
    """`depth`: stages of the encoder, 3 to 5."""
    return _smp.network(
        smp.Linknet,
        encoder=encoder,
        weights=weights,
        in_channels=in_channels,
        num_classes=num_classes,
        depth=depth,
    )
