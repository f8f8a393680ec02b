"""SegNet: a decoder that puts features back where the encoder's max-pooling took them from (arXiv:1511.00561)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segmodels.architectures import _smp
from segmodels.errors import ParamsError

ENCODERS = ("vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn")


def build(in_channels: int, num_classes: int, *, encoder: str = "vgg16_bn", weights: str | None = None) -> nn.Module:
    """The encoder is one of VGG's, whose pooling gives indices; the decoder is its mirror image, normalised."""
    if encoder not in ENCODERS:
        raise ParamsError(f"architectures.segnet: encoder is {encoder!r}; it unpools, so expected one of {', '.join(ENCODERS)}")
    return _SegNet(_Encoder(_smp.encoder(encoder, weights=weights, in_channels=in_channels)), num_classes)


class _Encoder(nn.Module):
    """VGG's layers in stages, without the pooling between them."""

    def __init__(self, vgg: nn.Module) -> None:
        super().__init__()
        layers = vgg.features
        assert isinstance(layers, nn.Sequential)
        pools = [index for index, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        self.stages = nn.ModuleList(layers[start:end] for start, end in zip([0, *(i + 1 for i in pools)], pools, strict=False))

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, list[tuple[Tensor, torch.Size]]]:
        """The deepest features, and of each stage where its maxima stood and how large it was."""
        features, places = images_BCHW, []
        for stage in self.stages:
            features = stage(features)
            size = features.shape
            features, indices = F.max_pool2d(features, 2, return_indices=True)
            places.append((indices, size))
        return features, places


class _SegNet(nn.Module):
    def __init__(self, encoder: _Encoder, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        mirrored = [[layer for layer in stage if isinstance(layer, nn.Conv2d)] for stage in encoder.stages]  # type: ignore[attr-defined]
        self.head = nn.Conv2d(mirrored[0].pop(0).out_channels, num_classes, 3, padding=1)  # mirrors the first of all
        self.decoder = nn.ModuleList(
            nn.Sequential(*(layer for one in reversed(stage) for layer in _normalised(one.out_channels, one.in_channels)))
            for stage in reversed(mirrored)
        )

    def forward(self, images_BCHW: Tensor) -> Tensor:
        features, places = self.encoder(images_BCHW)
        for stage, (indices, size) in zip(self.decoder, reversed(places), strict=True):
            features = stage(unpool(features, indices, size))
        logits_BCHW: Tensor = self.head(features)
        return logits_BCHW


def _normalised(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)


def unpool(features_BCHW: Tensor, indices_BCHW: Tensor, size: torch.Size) -> Tensor:
    """Every value where `indices` say, 0 elsewhere: F.max_unpool2d, in an operation that ONNX has."""
    batch, channels, height, width = size
    empty = features_BCHW.new_zeros(batch, channels, height * width)
    return empty.scatter(2, indices_BCHW.flatten(2), features_BCHW.flatten(2)).view(batch, channels, height, width)
