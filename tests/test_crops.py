"""Samples drawn for rare classes."""

from pathlib import Path

import numpy as np
import pytest

from segmodels import batches, catalog, crops
from segmodels.recipes import Recipe
from segmodels.samples import SegmentationClass
from segmodels.shards import Pair
from segmodels.store import Store
from tests.conftest import stored

CLASSES = [SegmentationClass("ground", 0, (0, 0, 0)), SegmentationClass("blob", 1, (9, 9, 9))]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Forty images of 200 x 300, of which four have a blob of 8 x 8 somewhere."""
    rng = np.random.default_rng(0)
    pairs = []
    for number in range(40):
        mask = np.zeros((200, 300), np.uint8)
        if number % 10 == 0:
            y, x = rng.integers(0, [192, 292])
            mask[y : y + 8, x : x + 8] = 1
        pairs.append(Pair(f"i{number}", np.repeat(mask[..., None], 3, axis=2), mask))
    return stored(tmp_path / "store", pairs, CLASSES)


def share_that_shows_the_blob(store: Store, size_px: tuple[int, int], balanced_crops: float, epochs: int = 5) -> float:
    recipe = Recipe(catalog.build("augmentations", "light", size_px), size_px)
    shown = []
    for epoch in range(epochs):
        loader = batches.training(
            store, recipe, batch_size=4, micro_batch_size=4, balanced_crops=balanced_crops,
            parts=1, start=epoch, rank=0, world=1, seed=0, pin=False,
        )  # fmt: skip
        shown += [bool((mask == 1).any()) for batch in loader for mask in batch.masks]
    return float(np.mean(shown))


@pytest.mark.parametrize("size_px", [(64, 96), (192, 288)])
@pytest.mark.unhurried
def test_a_rare_class_is_shown_as_often_as_a_common_one(store: Store, size_px: tuple[int, int]) -> None:
    assert share_that_shows_the_blob(store, size_px, 0.0) < 0.1  # it is in a tenth of the images, and may be cut away
    # half of the samples are drawn for it, of which nearly all show it, as do few of the others
    assert 0.42 < share_that_shows_the_blob(store, size_px, 1.0) < 0.6
    assert 0.2 < share_that_shows_the_blob(store, size_px, 0.5) < 0.35


def test_a_class_is_drawn_by_what_the_masks_of_overlapping_classes_mean(tmp_path: Path) -> None:
    """Of two classes that overlap, the second only where the first is too."""
    both = np.zeros((2, 20, 20), np.uint8)
    both[0, :10], both[1, :2] = 1, 1
    one = both.copy()
    one[1] = 0
    store = stored(
        tmp_path / "store", [Pair(name, np.zeros((20, 20, 3), np.uint8), which) for name, which in (("a", both), ("b", one))],
        CLASSES, task="multilabel",
    )  # fmt: skip
    chosen = [crops.Balance(store).draw(np.random.default_rng(seed)) for seed in range(60)]
    for choice in chosen:
        shown = store.labels.of_array(np.array(choice.values, np.uint8)[None])[:, 0]  # classes x values
        assert (shown == 1).all(axis=1).any()
        assert np.isin(store.mask(choice.row), choice.values).any()
    assert 15 < sum(len(choice.values) == 1 for choice in chosen) < 45


def test_a_crop_is_around_a_pixel_of_the_class() -> None:
    mask = np.zeros((400, 600), np.uint8)
    mask[17, 580] = 1
    image = np.repeat(mask[..., None], 3, axis=2)
    for seed in range(50):
        drawn_image, drawn_mask = crops.around(image, mask, [1], (32, 48), np.random.default_rng(seed))
        assert drawn_mask.shape == (64, 96)  # twice the size asked for
        assert (drawn_image[..., 0] == drawn_mask).all() and (drawn_mask == 1).any()


def test_a_small_image_comes_back_whole() -> None:
    mask = np.zeros((40, 600), np.uint8)
    _, drawn = crops.around(np.zeros((40, 600, 3), np.uint8), mask, [0], (32, 48), np.random.default_rng(0))
    assert drawn.shape == (40, 96)
