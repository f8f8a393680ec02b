"""Spatial pyramid pooling: what surrounds a pixel, summed up at several scales."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PyramidPooling(nn.Module):
    """The pyramid pooling module of PSPNet (arXiv:1612.01105, figure 3).

    The features are averaged over 1 x 1, 2 x 2, 3 x 3 and 6 x 6 bins, each brought to an equal share of the width, scaled back up and
    joined to the features: twice the width comes out. Without batch normalisation over a single bin.
    """

    def __init__(self, channels: int, bins: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.bins = tuple(bins)
        width = channels // len(bins)
        self.out_channels = channels + width * len(bins)
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, width, 1, bias=count == 1),
                nn.Identity() if count == 1 else nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            )
            for count in bins
        )

    def forward(self, features_BCHW: Tensor) -> Tensor:
        size = features_BCHW.shape[-2:]
        pooled = [branch(bin_means(features_BCHW, count)) for branch, count in zip(self.branches, self.bins, strict=True)]
        scaled = [F.interpolate(one, size=size, mode="bilinear", align_corners=False) for one in pooled]
        return torch.cat([features_BCHW, *scaled], dim=1)


class BinMeans(nn.Module):
    """`bin_means` in the place of an nn.AdaptiveAvgPool2d."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, features_BCHW: Tensor) -> Tensor:
        return bin_means(features_BCHW, self.count)


def bin_means(features_BCHW: Tensor, count: int) -> Tensor:
    """The means over `count` x `count` bins, B x C x count x count: F.adaptive_avg_pool2d as products of matrices.

    The library's own exports to ONNX only where the bins divide a size known in advance, and is not deterministic on a GPU.
    """
    height, width = features_BCHW.shape[-2:]
    rows_KH, columns_KW = _bins(height, count, features_BCHW), _bins(width, count, features_BCHW)
    return torch.einsum("bchw,kh,lw->bckl", features_BCHW, rows_KH, columns_KW)


def _bins(length: int, count: int, like: Tensor) -> Tensor:
    """count x length: the weight of every position in every bin, 1 / size of the bin or 0."""
    position, index = torch.arange(length, device=like.device)[None], torch.arange(count, device=like.device)[:, None]
    start, end = index * length // count, ((index + 1) * length + count - 1) // count
    inside = (position >= start) & (position < end)
    return inside.to(like.dtype) / (end - start).to(like.dtype)
