"""What a dataset holds, counted by hand, and drawn."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmodels import census
from segmodels.assembly import Place
from segmodels.dataset import open_dataset
from segmodels.samples import SegmentationClass
from segmodels.shards import Pair
from segmodels.store import Store
from tests.conftest import prepared_at, stored

CLASSES = [SegmentationClass(name, index, (index, 0, 0)) for index, name in enumerate(("background", "cat", "dog"))]


def test_classes_sizes_and_empty_images_are_counted(tmp_path: Path) -> None:
    masks = {
        "a": np.array([[0, 0, 1, 255]], np.uint8),
        "b": np.array([[0, 0, 0, 0]], np.uint8),
        "c": np.array([[1], [2]], np.uint8),
    }
    samples = [Pair(name, np.full((*mask.shape, 3), 10, np.uint8), mask) for name, mask in masks.items()]
    places = {"a": Place("train", "x", "x"), "b": Place("train", "x", "x"), "c": Place("test", "y", "y")}
    found = census.count(stored(tmp_path / "store", samples, CLASSES, places=places))
    assert found.num_images == {"train": 2, "val": 0, "test": 1}
    assert found.num_groups == {"train": 1, "val": 0, "test": 1}
    background, cat, dog = found.classes
    # of seven known pixels that train, six are background
    assert background.share == {"train": pytest.approx(6 / 7), "val": None, "test": 0}
    assert cat.share == {"train": pytest.approx(1 / 7), "val": None, "test": 0.5}
    assert (cat.num_images, dog.num_images) == ({"train": 1, "val": 0, "test": 1}, {"train": 0, "val": 0, "test": 1})
    assert found.empty == {"train": 1, "val": 0, "test": 0}
    assert found.void == {"train": 0.125, "val": None, "test": 0}
    assert found.sizes == [(1, 4, 2), (2, 1, 1)]
    assert (found.mean, found.std) == ([10, 10, 10], [1, 1, 1])


@pytest.mark.unhurried
def test_the_stage_leaves_them_for_people(drawn: Path, tmp_path: Path) -> None:
    prepared_at(open_dataset(drawn), tmp_path / "store", facts=tmp_path / "facts")
    told = json.loads((tmp_path / "facts" / "census.json").read_text())
    assert sum(told["num_images"].values()) == 24
    assert told["sha256"] == Store(tmp_path / "store").sha256
    assert sum(one["share"]["train"] for one in told["classes"]) == pytest.approx(1)
    with Image.open(tmp_path / "facts" / "census.png") as picture:
        assert picture.width > 800
