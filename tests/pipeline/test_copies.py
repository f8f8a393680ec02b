"""Copies of the training images that are drawn beforehand, by workers."""

from pathlib import Path

import numpy as np
import pytest

from segmodels import augment, variants
from segmodels.errors import DatasetError
from segmodels.recipes import Recipe, draw_seed
from segmodels.shards import Pair
from segmodels.store import Store
from tests.conftest import stored


def test_copies_are_what_the_epochs_would_have_drawn(prepared: Path, tmp_path: Path) -> None:
    drawn = {"recipe": "light", "options": {}, "size_px": (32, 48), "seed": 5}
    told: list[str] = []
    augment.augment(prepared, tmp_path / "light", **drawn, copies=2, notice=told.append)  # type: ignore[arg-type]
    store, recipe = Store(prepared), Recipe.load(tmp_path / "light" / "recipe.json")
    found = variants.find(tmp_path / "light", store)
    assert found is not None
    for row in store.rows("train"):
        for epoch in range(5):
            image, mask = recipe(store.image(row), store.mask(row), seed=draw_seed(5, epoch % 2, row))
            its_image, its_mask = found.pair(row, epoch=epoch)
            assert (its_image == image).all() and (its_mask == mask).all()
    rows = len(store.rows("train"))
    assert f"drew {rows} training images 2 times: {rows * 2 * 32 * 48 * 4 / 1e6:.0f} MB" in told
    augment.augment(prepared, tmp_path / "none", **drawn)  # type: ignore[arg-type]
    assert variants.find(tmp_path / "none", store) is None


def test_copies_of_another_version_of_the_dataset_are_refused(prepared: Path, tmp_path: Path) -> None:
    augment.augment(prepared, tmp_path / "light", recipe="light", options={}, size_px=(32, 48), seed=5, copies=1)
    other = stored(
        tmp_path / "other", [Pair("x", np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.uint8))], Store(prepared).classes
    )
    with pytest.raises(DatasetError, match="its copies are of another version of the dataset; run `segmodels augment`"):
        variants.find(tmp_path / "light", other)
