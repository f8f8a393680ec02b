"""Recipes: image and mask move together, the same seed draws the same, and a recipe that breaks labels is refused."""

import json
import re
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import pytest
from PIL import Image

from segmodels import augment
from segmodels.errors import DatasetError
from segmodels.recipes import Recipe, draw_seed
from segmodels.samples import SegmentationClass, UInt8Array
from segmodels.shards import Pair
from segmodels.store import Store
from tests.conftest import stored

SIZE = (32, 48)
MASK: UInt8Array = np.kron(np.array([[0, 1, 2], [2, 0, 1]]), np.ones((31, 29), int)).astype(np.uint8)
IMAGE: UInt8Array = np.repeat(MASK[..., None] * 80 + 20, 3, axis=2)

NEAREST = cv2.INTER_NEAREST


@pytest.mark.unhurried
def test_the_stage_leaves_a_recipe_that_replays_and_a_preview(prepared: Path, store: Store, tmp_path: Path) -> None:
    told: list[str] = []
    augment.augment(prepared, tmp_path / "out", recipe="light", options={"flip": 1.0}, size_px=SIZE, seed=4, notice=told.append)
    first, again = Recipe.load(tmp_path / "out" / "recipe.json"), Recipe.load(tmp_path / "out" / "recipe.json")
    row = store.rows("train")[0]
    for seed in range(5):
        image, mask = first(store.image(row), store.mask(row), seed=seed)
        image_again, mask_again = again(store.image(row), store.mask(row), seed=seed)
        assert image.shape == (*SIZE, 3)
        assert (image == image_again).all()
        assert (mask == mask_again).all()
    assert "shows less of" in told[0] or "keeps the shares" in told[0]
    speed = re.match(r"draws (\d+) images a second on one core; ", told[0])
    assert speed is not None and int(speed[1]) > 0
    assert set(json.loads((tmp_path / "out" / "shares.json").read_text())["after"]) == {one.name for one in store.classes}
    with Image.open(tmp_path / "out" / "preview.png") as preview:
        assert preview.width > 300


def test_it_says_what_it_does_to_the_classes(tmp_path: Path) -> None:
    """Half of each image is of class b, in its upper part: the recipe cuts out the lower three quarters."""
    masks = np.zeros((40, 32), np.uint8)
    masks[:20] = 1
    samples = [Pair(f"s{n}", np.full((40, 32, 3), 9 * n, np.uint8), masks) for n in range(4)]
    classes = [SegmentationClass("a", 0, (0, 0, 0)), SegmentationClass("b", 1, (1, 1, 1))]
    lower = Recipe([A.Crop(x_min=0, y_min=10, x_max=32, y_max=40)], (30, 32))
    found = augment.shares(stored(tmp_path / "store", samples, classes), lower, seed=0)
    # 20 of 40 rows are of b before, 10 of 30 after: two thirds of their share
    assert (found.before, found.num_drawn) == ({"a": 0.5, "b": 0.5}, 4)
    assert found.after == pytest.approx({"a": 2 / 3, "b": 1 / 3})
    assert str(found) == "shows less of b 50.00% -> 33.33%; void 0.0% -> 0.0%"


def test_a_draw_does_not_depend_on_the_draws_before() -> None:
    recipe = Recipe([A.RandomCrop(*SIZE), A.GaussNoise(p=0.5)], SIZE)
    alone = recipe(IMAGE, MASK, seed=7)
    recipe(IMAGE, MASK, seed=8)
    again = recipe(IMAGE, MASK, seed=7)
    assert (alone[0] == again[0]).all()
    assert (alone[1] == again[1]).all()


def test_samples_and_epochs_draw_differently() -> None:
    drawn = {draw_seed(seed, epoch, row) for seed in range(3) for epoch in range(5) for row in range(20)}
    assert len(drawn) == 3 * 5 * 20


def test_a_sound_recipe_passes() -> None:
    sound = Recipe([A.Resize(*SIZE, mask_interpolation=NEAREST), A.HorizontalFlip(p=1)], SIZE)
    augment.check(sound, IMAGE, MASK, name="x", seed=0)


def test_a_recipe_that_interpolates_labels_is_refused() -> None:
    blurring = Recipe([A.Resize(40, 50, mask_interpolation=cv2.INTER_LINEAR)], (40, 50))
    mask = np.where(MASK == 2, 9, 0).astype(np.uint8)  # between 0 and 9 lies what no class has
    with pytest.raises(DatasetError, match="invents the labels"):
        augment.check(blurring, IMAGE, mask, name="x", seed=0)


class OnlyTheImage(A.HorizontalFlip):  # type: ignore[misc]  # albumentations has no types
    """A broken transform: mirrors the image and leaves the mask."""

    def apply_to_mask(self, mask: np.ndarray, **_: object) -> np.ndarray:
        return mask


def test_a_recipe_that_moves_the_image_alone_is_refused() -> None:
    apart = Recipe([A.Resize(*SIZE, mask_interpolation=NEAREST), OnlyTheImage(p=1)], SIZE)
    with pytest.raises(DatasetError, match="moves image and mask of x apart"):
        augment.check(apart, IMAGE, MASK, name="x", seed=0)


def test_a_recipe_that_does_not_end_at_its_size_is_refused() -> None:
    with pytest.raises(DatasetError, match="end it with a crop or resize"):
        augment.check(Recipe([A.HorizontalFlip()], SIZE), IMAGE, MASK, name="x", seed=0)
