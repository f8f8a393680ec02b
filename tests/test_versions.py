"""What changed between two versions, worked by hand."""

from pathlib import Path

import numpy as np
import pytest

from segmodels import versions
from segmodels.assembly import Place
from segmodels.samples import SegmentationClass, Split
from segmodels.shards import Pair
from segmodels.store import Store
from segmodels.versions import ClassMove
from tests.conftest import stored

CLASSES = [SegmentationClass(name, index, (index, 0, 0)) for index, name in enumerate(("ground", "tree"))]


def version(folder: Path, images: dict[str, tuple[int, list[int], Split]]) -> Store:
    """A store of 1 x 4 images: by id their gray, their labels and their split."""
    samples = [
        Pair(name, np.full((1, 4, 3), gray, np.uint8), np.array([labels], np.uint8)) for name, (gray, labels, _) in images.items()
    ]
    places = {name: Place(split, name, name) for name, (_, _, split) in images.items()}
    return stored(folder, samples, CLASSES, places=places)


def test_images_are_followed_through_a_change(tmp_path: Path) -> None:
    before = version(
        tmp_path / "before",
        {
            "stays": (1, [0, 0, 0, 1], "train"),
            "gone": (2, [0, 0, 0, 0], "train"),
            "mended": (3, [0, 0, 0, 0], "train"),
            "old_name": (4, [1, 1, 255, 255], "val"),
            "tested": (5, [0, 0, 0, 0], "test"),
            "copy": (6, [0, 0, 0, 0], "test"),
        },
    )
    after = version(
        tmp_path / "after",
        {
            "stays": (1, [0, 0, 0, 1], "val"),
            "mended": (3, [0, 0, 1, 1], "train"),
            "new_name": (4, [1, 1, 255, 255], "val"),
            "tested": (7, [0, 0, 0, 0], "test"),  # another image under the same name
            "copy": (6, [0, 0, 0, 0], "test"),
            "second_copy": (6, [0, 0, 0, 0], "train"),
        },
    )
    names = ["ground", "tree"]
    found = versions.compare(before.manifest, after.manifest, (names, names))
    assert found.added == ["second_copy", "tested"]
    assert found.removed == ["gone", "tested"]
    assert found.relabelled == ["mended"]
    assert found.renamed == {"old_name": "new_name"}
    assert found.moved == {"train -> val": 1}
    assert found.left_test == ["tested"]
    # of 22 known pixels 3 were trees, of 22 now 5 are
    shares = {one.name: (one.before, one.after) for one in found.classes}
    assert shares["ground"] == pytest.approx((19 / 22, 17 / 22))
    assert shares["tree"] == pytest.approx((3 / 22, 5 / 22))


def test_the_same_dataset_is_no_change(tmp_path: Path) -> None:
    one = version(tmp_path / "one", {"a": (1, [0, 1, 1, 0], "train"), "b": (1, [0, 1, 1, 0], "test")})
    found = versions.compare(one.manifest, one.manifest, (["ground", "tree"], ["ground", "tree"]))
    assert not found
    assert found.left_test == []


def test_a_class_that_is_new_has_no_share_before(tmp_path: Path) -> None:
    one = version(tmp_path / "one", {"a": (1, [0, 0, 1, 1], "train")})
    found = versions.compare(one.manifest, one.manifest, (["ground", "bush"], ["ground", "tree"]))
    assert found.classes == [ClassMove("ground", 0.5, 0.5), ClassMove("bush", 0.5, None), ClassMove("tree", None, 0.5)]
