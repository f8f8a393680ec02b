"""Tiles cover an image, share what they should, and blend to what was there."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segmodels import tiling
from segmodels.resizing import enlarged


def test_where_tiles_begin_worked_by_hand() -> None:
    assert tiling.starts(100, 100) == [0]
    assert tiling.starts(60, 100) == [0]
    assert tiling.starts(101, 100) == [0, 1]
    assert tiling.starts(175, 100) == [0, 75]  # shares exactly a quarter
    assert tiling.starts(176, 100) == [0, 38, 76]
    assert tiling.starts(250, 100) == [0, 75, 150]


@given(st.integers(1, 3000), st.integers(8, 400))
def test_tiles_cover_and_share_a_quarter(length: int, tile: int) -> None:
    found = tiling.starts(length, tile)
    if length <= tile:
        assert found == [0]
        return
    assert (found[0], found[-1]) == (0, length - tile)
    steps = np.diff(found)
    assert (steps > 0).all() or length - tile < len(found)
    assert (steps <= (1 - tiling.OVERLAP) * tile + 1).all()


@given(
    st.tuples(st.integers(8, 90), st.integers(8, 90)),
    st.tuples(st.integers(8, 40), st.integers(8, 40)),
    st.integers(1, 5),
    st.integers(1, 30_000),
)
def test_what_tiles_agree_on_comes_out_whole(
    size: tuple[int, int], tile: tuple[int, int], at_once: int, band_values: int
) -> None:
    """Scores that depend on the place alone: blended they are what they were, each row once, in order."""
    tile = min(size[0], tile[0]), min(size[1], tile[1])
    scores = torch.arange(3 * size[0] * size[1], dtype=torch.float32).reshape(3, *size)

    def tiles_of(top: int, lefts: object) -> torch.Tensor:
        return torch.stack([scores[:, top : top + tile[0], left : left + tile[1]] for left in lefts])  # type: ignore[attr-defined]

    bands = list(tiling.blended(size, tile, tiles_of, at_once=at_once, band_values=band_values))
    assert all(band.numel() <= max(band_values, 3 * size[1]) for _, band in bands)
    assert [top for top, _ in bands] == np.cumsum([0, *(band.shape[1] for _, band in bands[:-1])]).tolist()
    torch.testing.assert_close(torch.cat([band for _, band in bands], dim=1), scores, rtol=1e-5, atol=1e-3)


def test_a_pixel_counts_what_has_it_in_its_middle_more() -> None:
    """Two tiles of 8 columns in 14, the first says 0 and the second 1: what they share rises from the one to the other."""
    [(top, band)] = tiling.blended(
        (4, 14),
        (4, 8),
        lambda _, lefts: torch.stack([torch.full((1, 4, 8), float(left > 0)) for left in lefts]),
        at_once=2,
        band_values=999,
    )
    # by hand: over a quarter of the side, 2 columns, a tile rises by 0.25 and 0.75 of a column
    assert top == 0
    assert band[0, 0].tolist() == pytest.approx([0, 0, 0, 0, 0, 0, 0.25, 0.75, 1, 1, 1, 1, 1, 1])


def test_scores_of_small_tiles_are_brought_to_their_size() -> None:
    """A slope that a network saw at half of the image's size; away from the borders of tiles it is what interpolation makes of it."""
    size, tile = (40, 60), (16, 24)
    slope = torch.arange(60, dtype=torch.float32).expand(40, 60)

    def tiles_of(top: int, lefts: Sequence[int]) -> torch.Tensor:
        whole = torch.stack([slope[None, top : top + tile[0], left : left + tile[1]] for left in lefts])
        return torch.nn.functional.avg_pool2d(whole, 2)

    bands = [band for _, band in tiling.blended(size, tile, tiles_of, at_once=2, band_values=200)]
    found = torch.cat(bands, dim=1)[0]
    assert (found - slope).abs().max() <= 0.5  # at the image's ends alone there is nothing beyond to interpolate with
    assert (found - slope)[:, 6:-6].abs().max() <= 0.25


@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.tuples(st.integers(1, 60), st.integers(1, 60)), st.integers(1, 60))
def test_rows_are_those_of_all_at_once(own: tuple[int, int], size: tuple[int, int], rows: int) -> None:
    scores = torch.from_numpy(np.random.default_rng(0).random((2, *own), np.float32))
    whole = torch.nn.functional.interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0]
    parts = [enlarged(scores, size, slice(first, min(first + rows, size[0]))) for first in range(0, size[0], rows)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-5, atol=1e-5)
