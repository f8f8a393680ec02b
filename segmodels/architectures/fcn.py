"""FCN: a classifier made convolutional, its coarse scores scaled up and summed with finer ones (arXiv:1411.4038)."""

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from segmodels.architectures import _smp


def build(
    in_channels: int,
    num_classes: int,
    *,
    encoder: str = "resnet18",
    weights: str | None = None,
    stride: Literal[32, 16, 8] = 8,
    hidden: int | None = None,
    dropout: float = 0.5,
) -> nn.Module:
    """FCN-32s, -16s or -8s by `stride`.

    Args:
        stride: of the finest scores that are summed: 32 none, 16 those at 1/16, 8 those at 1/8 too.
        hidden: width of two more layers on the deepest features, 7 x 7 and 1 x 1: 4096 with `encoder: vgg16` is the paper's network.
        dropout: after each of the two.
    """
    built = _smp.encoder(encoder, weights=weights, in_channels=in_channels)
    return _FCN(built, num_classes, finer={32: 0, 16: 1, 8: 2}[stride], hidden=hidden, dropout=dropout)


class _FCN(nn.Module):
    def __init__(self, encoder: nn.Module, num_classes: int, *, finer: int, hidden: int | None, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        widths: Sequence[int] = encoder.out_channels[::-1]  # type: ignore[index,assignment]  # a list, now deepest first
        self.hidden = nn.Identity() if hidden is None else _hidden(widths[0], hidden, dropout)
        self.scores = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for width in (hidden or widths[0], *widths[1 : 1 + finer]))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        deepest, *others = self.encoder(images_BCHW)[::-1]
        logits_BCHW: Tensor = self.scores[0](self.hidden(deepest))
        for score, features in zip(self.scores[1:], others, strict=False):
            logits_BCHW = score(features) + _scaled(logits_BCHW, features.shape[-2:])
        return _scaled(logits_BCHW, images_BCHW.shape[-2:])


def _hidden(in_channels: int, channels: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 7, padding=3),
        nn.ReLU(inplace=True),
        nn.Dropout2d(dropout),
        nn.Conv2d(channels, channels, 1),
        nn.ReLU(inplace=True),
        nn.Dropout2d(dropout),
    )


def _scaled(logits_BCHW: Tensor, size: Sequence[int]) -> Tensor:
    # what the paper's upsampling starts as, and stays in its last layer
    return F.interpolate(logits_BCHW, size=tuple(size), mode="bilinear", align_corners=False)
