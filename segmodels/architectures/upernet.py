"""UPerNet: a feature pyramid whose top is pooled over 1, 2, 3 and 6 bins a side (arXiv:1807.10221)."""

import segmentation_models_pytorch as smp
from torch import nn

from segmodels.architectures import _smp
from segmodels.architectures._pyramid import BinMeans


def build(
    in_channels: int,
    num_classes: int,
    *,
    encoder: str = "resnet18",
    weights: str | None = None,
    channels: int = 256,
) -> nn.Module:
    """`channels` is the decoder's width."""
    network = _smp.network(
        smp.UPerNet,
        encoder=encoder,
        weights=weights,
        in_channels=in_channels,
        num_classes=num_classes,
        decoder_channels=channels,
    )
    decoder = network.decoder
    assert isinstance(decoder, nn.Module)
    for pool in [module for module in decoder.modules() if isinstance(module, nn.Sequential)]:
        if isinstance(pool[0], nn.AdaptiveAvgPool2d):
            bins = pool[0].output_size
            assert isinstance(bins, int)
            pool[0] = BinMeans(bins)
    return network
