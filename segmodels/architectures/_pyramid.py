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

    def pooled(self, features_BCHW: Tensor) -> list[Tensor]:
        """Of each number of bins what is joined to the features, before it is scaled up: B x C / 4 x bins x bins."""
        return [branch(bin_means(features_BCHW, count)) for branch, count in zip(self.branches, self.bins, strict=True)]

    def forward(self, features_BCHW: Tensor) -> Tensor:
        size = features_BCHW.shape[-2:]
        scaled = [F.interpolate(one, size=size, mode="bilinear", align_corners=False) for one in self.pooled(features_BCHW)]
        return torch.cat([features_BCHW, *scaled], dim=1)

    def convolved(self, features_BCHW: Tensor, convolution: nn.Conv2d) -> Tensor:
        """A 3 x 3 convolution of what `forward` gives, but for rounding, in about half the multiplications: for training.

        Scaling up and convolving are linear, so the taps multiply the bins, and what comes of that is scaled up: by one product with a
        matrix along the rows and one along the columns.
        """
        pooled = self.pooled(features_BCHW)
        widths = [features_BCHW.shape[1], *(one.shape[1] for one in pooled)]
        own, *others = convolution.weight.split(widths, dim=1)
        found = F.conv2d(features_BCHW, own, convolution.bias, padding=1)
        height, width = found.shape[-2:]
        wide, down = [], []  # T: the taps of all rows of bins
        for one_BCKK, weight_OC33 in zip(pooled, others, strict=True):
            products_BTTO = _products(one_BCKK, weight_OC33)
            wide.append((_taps(width, one_BCKK) @ products_BTTO).flatten(2))  # B x T x (W * O)
            down.append(_taps(height, one_BCKK))
        scaled_BHWO = (torch.cat(down, dim=1) @ torch.cat(wide, dim=1)).view(-1, height, width, found.shape[1])
        return found + scaled_BHWO.permute(0, 3, 1, 2)


def _products(bins_BCKK: Tensor, weight_OC33: Tensor) -> Tensor:
    """B x (K * 3) x (K * 3) x O: what each of the 3 x 3 taps makes of each of the K x K bins."""
    products = torch.einsum("bckl,ocde->bkldeo", bins_BCKK, weight_OC33)
    return products.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _taps(length: int, bins_BCKK: Tensor) -> Tensor:
    """length x (K * 3): how much of a bin each of a convolution's three taps sees at every place, zero outside."""
    identity = torch.eye(bins_BCKK.shape[-1], device=bins_BCKK.device)
    scaled = F.interpolate(identity[None], size=length, mode="linear", align_corners=False)[0]
    return F.pad(scaled, (1, 1)).unfold(1, length, 1).flatten(0, 1).T


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
