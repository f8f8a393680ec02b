"""U-Net: an encoder, and a decoder that takes the encoder's features back in at every scale (arXiv:1505.04597)."""

import itertools
from collections.abc import Sequence
from typing import Literal

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from segmodels.architectures import _smp, _upsampling
from segmodels.errors import ParamsError


def build(
    in_channels: int,
    num_classes: int,
    *,
    encoder: str = "resnet18",
    weights: str | None = None,
    decoder_channels: Sequence[int] | None = None,
    skip: Literal["copy", "conv1x1"] = "copy",
) -> nn.Module:
    """`encoder: plain` is the paper's own network, with batch normalisation and padding.

    Args:
        decoder_channels: widths from the deepest scale to the image's own; 256, 128, 64, 32, 16 unless given. Of the plain network
            512, 256, 128, 64: its encoder has the same, and twice the first at the bottom.
        skip: what the decoder gets of the encoder's features: `copy` as they are, `conv1x1` through a learned 1 x 1 convolution.
    """
    network: nn.Module
    if encoder == "plain":
        if weights is not None:
            raise ParamsError(f"architectures.unet: weights is {weights!r}, but there are none for `encoder: plain`; set null")
        network = _PlainUNet(in_channels, num_classes, decoder_channels or (512, 256, 128, 64))
        skipped = network.encoder.out_channels[:-1]
    else:
        widths = tuple(decoder_channels or (256, 128, 64, 32, 16))
        network = _smp.network(
            smp.Unet,
            encoder=encoder,
            weights=weights,
            in_channels=in_channels,
            num_classes=num_classes,
            depth=len(widths),
            decoder_channels=widths,
        )
        _upsampling.replace_in(network.decoder)  # type: ignore[arg-type]  # a module
        skipped = [0, *network.encoder.out_channels[1:-1]]  # type: ignore[union-attr,index]  # smp's decoder leaves the first out
    if skip == "conv1x1":
        network.decoder = _ConvolvedSkips(network.decoder, skipped)  # type: ignore[arg-type]
    return network


class _ConvolvedSkips(nn.Module):
    """A decoder whose skips pass a 1 x 1 convolution first. `channels`: of all features but the deepest; 0 where none passes."""

    def __init__(self, decoder: nn.Module, channels: Sequence[int]) -> None:
        super().__init__()
        self.decoder = decoder
        self.skips = nn.ModuleList(nn.Conv2d(width, width, 1) if width else nn.Identity() for width in channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        passed = [skip(feature) for skip, feature in zip(self.skips, features[:-1], strict=True)]
        decoded: Tensor = self.decoder([*passed, features[-1]])
        return decoded


class _PlainUNet(nn.Module):
    """The network of the paper's figure 1; padded, so that the logits have the image's size."""

    def __init__(self, in_channels: int, num_classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.encoder = _PlainEncoder(in_channels, [*reversed(widths), 2 * widths[0]])
        self.decoder = _PlainDecoder([2 * widths[0], *widths])
        self.head = nn.Conv2d(widths[-1], num_classes, 1)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits_BCHW: Tensor = self.head(self.decoder(self.encoder(images_BCHW)))
        return logits_BCHW


class _PlainEncoder(nn.Module):
    def __init__(self, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.out_channels = list(widths)
        self.blocks = nn.ModuleList(_double(a, b) for a, b in zip([in_channels, *widths[:-1]], widths, strict=True))

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        features = [self.blocks[0](images_BCHW)]
        for block in self.blocks[1:]:
            features.append(block(nn.functional.max_pool2d(features[-1], 2)))
        return features


class _PlainDecoder(nn.Module):
    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(widths))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(deep, wide, 2, stride=2) for deep, wide in pairs)
        self.blocks = nn.ModuleList(_double(2 * wide, wide) for _, wide in pairs)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        deep = features[-1]
        for up, block, skip in zip(self.ups, self.blocks, reversed(features[:-1]), strict=True):
            deep = block(torch.cat([skip, up(deep)], dim=1))
        return deep


def _double(in_channels: int, out_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers += [
            nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
