"""Labels that were damaged are told, and few that were not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segmodels import shapes, suspects
from segmodels.alignment import fit
from segmodels.dataset import open_dataset
from segmodels.pairs import Facts
from segmodels.samples import SegmentationClass, UInt8Array
from segmodels.suspects import Labelled, Suspect
from tests.conftest import decoded

Pairs = list[tuple[UInt8Array, UInt8Array]]
DAMAGED = 0.05


def swapped(pairs: Pairs, at: int) -> UInt8Array:
    """The mask of an image half the dataset away: of its neighbour in a film nobody could tell."""
    return pairs[(at + len(pairs) // 2) % len(pairs)][1]


def shifted(pairs: Pairs, at: int) -> UInt8Array:
    """By 6 % of the longer side, in a direction of its own."""
    mask, turn = pairs[at][1], 2.4 * at
    far = 0.06 * max(mask.shape)
    return np.roll(mask, (round(far * np.sin(turn)), round(far * np.cos(turn))), axis=(0, 1))


def blank(pairs: Pairs, at: int) -> UInt8Array:
    return np.zeros_like(pairs[at][1])


@pytest.mark.parametrize("damage", [swapped, shifted, blank])
@pytest.mark.parametrize("name", ["drawn", "camvid"])
@pytest.mark.unhurried
def test_damaged_masks_are_told_and_few_others(
    name: str, damage: Callable[[Pairs, int], UInt8Array], request: pytest.FixtureRequest
) -> None:
    pairs, classes = request.getfixturevalue(f"{name}_pairs")
    spoiled = set(np.random.default_rng(0).choice(len(pairs), round(DAMAGED * len(pairs)), replace=False).tolist())
    masks = [damage(pairs, at) if at in spoiled else mask for at, (_, mask) in enumerate(pairs)]
    labelled = [
        Facts.of(image, mask, classes).labelled(str(at)) for at, ((image, _), mask) in enumerate(zip(pairs, masks, strict=True))
    ]
    told = {int(one.id) for one in suspects.find(labelled)}
    assert len(told & spoiled) >= 0.9 * len(spoiled)
    assert len(told - spoiled) <= 0.02 * (len(pairs) - len(spoiled))


@pytest.fixture(scope="module")
def drawn_pairs() -> tuple[Pairs, list[SegmentationClass]]:
    drawings = [shapes.draw(size_px=(96, 128), seed=seed) for seed in range(200)]
    return [(one.image, one.mask) for one in drawings], shapes.CLASSES


@pytest.fixture(scope="module")
def camvid_pairs(real_data: Path) -> tuple[Pairs, list[SegmentationClass]]:
    """Every third frame."""
    dataset = open_dataset(real_data / "camvid")
    some = decoded(replace(dataset, samples=dataset.samples[::3]))
    return [(image, mask) for _, image, mask in some], dataset.classes


def test_borders_on_edges_fit_and_others_do_not() -> None:
    image = np.full((64, 64, 3), 40, np.uint8)
    image[16:48, 16:48] = 200
    noise = np.random.default_rng(0).integers(0, 12, image.shape, np.uint8)
    mask = (image[..., 0] > 100).astype(np.uint8)
    right, wrong = fit(image + noise, mask), fit(image + noise, np.roll(mask, (10, 10), axis=(0, 1)))
    assert right is not None and wrong is not None
    assert right > 5 > suspects.FIT > wrong
    overlapping = np.stack([mask, np.zeros_like(mask)])
    assert fit(image + noise, overlapping) == right
    assert fit(image + noise, mask * 0) is None  # no borders
    assert fit(image * 0, mask) is None  # no edges


def test_empty_masks_are_told_where_they_are_rare_alone() -> None:
    full = [Labelled(f"f{n:02d}", 9.0, 3) for n in range(18)]
    empty = [Labelled(f"e{n}", None, 1) for n in range(3)]
    assert suspects.find([*full, *empty[:2]]) == [Suspect(f"e{n}", None) for n in range(2)]
    assert suspects.find([*full[:9], *empty]) == []
    assert suspects.find([Labelled("void", None, 0), *full]) != []
