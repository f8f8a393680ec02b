"""An image that is too large for the network at once: seen in overlapping tiles, whose scores are blended, in a bounded memory."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from segmodels.resizing import enlarged

OVERLAP = 0.25
"""Of a tile's side, how much it shares at least with the next one: at its border a network sees half of what it needs."""

TilesOf = Callable[[int, Sequence[int]], Tensor]
"""The scores of the tiles whose first row is the first argument, and whose first columns are the second: B x C x height x width, of any
size: they are brought to the tile's."""


def starts(length_px: int, tile_px: int) -> list[int]:
    """Where tiles begin, evenly spread, so that each shares OVERLAP with the next; one that is longer than the image begins at 0."""
    if length_px <= tile_px:
        return [0]
    count = math.ceil((length_px - OVERLAP * tile_px) / ((1 - OVERLAP) * tile_px))
    return [round(number * (length_px - tile_px) / (count - 1)) for number in range(max(count, 2))]


def blended(
    size_px: tuple[int, int], tile_px: tuple[int, int], tiles_of: TilesOf, *, at_once: int, band_values: int
) -> Iterator[tuple[int, Tensor]]:
    """The scores of an image, band by band from its top: the band's first row and C x rows x width.

    Holds no more than the scores of the tiles that a band lies in, in the size that they come in, and those of the band. Of tiles that
    overlap, that counts more in whose middle a pixel lies.

    Args:
        size_px: of the image, height and width; `tile_px` of a tile, at most as large.
        at_once: how many tiles are asked for together.
        band_values: how many scores a band has at most, unless a row has more.
    """
    (height, width), (tile_height, tile_width) = size_px, tile_px
    assert tile_height <= height and tile_width <= width, (size_px, tile_px)
    tops, lefts = starts(height, tile_height), starts(width, tile_width)
    held: list[tuple[int, list[Tensor]]] = []
    for top, following in pairwise([*tops, height]):
        some = [lefts[first : first + at_once] for first in range(0, len(lefts), at_once)]
        held.append((top, [tile for part in some for tile in tiles_of(top, part).float().cpu()]))
        rows = max(1, band_values // (held[-1][1][0].shape[0] * width))
        for first in range(top, following, rows):  # no later tile reaches these rows
            yield first, _band(held, lefts, (first, min(first + rows, following)), tile_px, width)
        held = [(begin, tiles) for begin, tiles in held if begin + tile_height > following]


def _band(
    held: Sequence[tuple[int, Sequence[Tensor]]],
    lefts: Sequence[int],
    rows: tuple[int, int],
    tile_px: tuple[int, int],
    width: int,
) -> Tensor:
    """Rows of an image, from rows of tiles."""
    first, last = rows
    scores_CHW = torch.zeros(held[-1][1][0].shape[0], last - first, width)
    weights_HW = torch.zeros(last - first, width)
    down, across = _ramp(tile_px[0]), _ramp(tile_px[1])
    for top, tiles in held:
        begin, end = max(first, top), min(last, top + tile_px[0])
        if begin >= end:
            continue
        inside, of_tile = slice(begin - first, end - first), slice(begin - top, end - top)
        weight_HW = down[of_tile, None] * across[None, :]
        for left, tile_CHW in zip(lefts, tiles, strict=True):
            columns = slice(left, left + tile_px[1])
            scores_CHW[:, inside, columns] += enlarged(tile_CHW, tile_px, of_tile) * weight_HW
            weights_HW[inside, columns] += weight_HW
    return scores_CHW / weights_HW


def _ramp(length: int) -> Tensor:
    """Rises from either end over OVERLAP to 1."""
    from_end = torch.minimum(torch.arange(length), torch.arange(length).flip(0)) + 0.5
    return (from_end / max(1.0, OVERLAP * length)).clamp(max=1)
