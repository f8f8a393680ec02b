"""Random scenes in the formats that know no `background` beside other classes: written by writers of their own, read as they were drawn."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmodels import catalog
from segmodels.dataset import open_dataset
from segmodels.samples import IGNORE_INDEX
from tests.conftest import decoded
from tests.test_every_format import NAMES, SCENES, WRITERS, Box, are_its_objects, boxes, labels, numbers, picture, values, written

Scenes = dict[str, list[Box]]


def ade20k(root: Path, scenes: Scenes) -> None:
    """The first scene validates, the others train."""
    for name, objects in scenes.items():
        split = "validation" if name == "one" else "training"
        picture(root / "images" / split / f"{name}.png")
        values(root / "annotations" / split / f"{name}.png", labels(objects))
    for kind in ("images", "annotations"):
        (root / kind / "training").mkdir(parents=True, exist_ok=True)
    rows = [f"{value}\t0.1\t9\t9\t0\t{name}, another word" for value, name in enumerate(NAMES) if value]
    (root / "objectInfo150.txt").write_text("\n".join(["Idx\tRatio\tTrain\tVal\tStuff\tName", *rows]))


def cityscapes(root: Path, scenes: Scenes) -> None:
    """Houses are its cars, trees its persons; the rest is unlabeled."""
    ids = np.array([0, 26, 24], np.uint8)
    for name, objects in scenes.items():
        city = root / "gtFine" / "train" / "ulm"
        picture(root / "leftImg8bit" / "train" / "ulm" / f"{name}_leftImg8bit.png")
        shown, drawn = ids[labels(objects)], numbers(objects).astype(np.uint16)
        values(city / f"{name}_gtFine_labelIds.png", shown)
        # a person or car with its number, from 0
        values(
            city / f"{name}_gtFine_instanceIds.png", np.where(drawn > 0, shown * np.uint16(1000) + drawn - 1, 0).astype(np.uint16)
        )


def instance_masks(root: Path, scenes: Scenes) -> None:
    """Later objects lie above earlier ones."""
    for name, objects in scenes.items():
        picture(root / name / "images" / f"{name}.png")
        for number in range(max(1, len(objects))):
            visible = numbers(objects) == number + 1
            values(root / name / "masks" / f"object-{number}.png", visible.astype(np.uint8) * np.uint8(255))


def class_folders(root: Path, scenes: Scenes) -> None:
    for name, objects in scenes.items():
        picture(root / "images" / f"{name}.png")
        for label, mask in zip(NAMES[1:], overlapping(objects), strict=True):
            values(root / "masks" / label / f"{name}.png", mask * np.uint8(255))


def overlapping(objects: list[Box]) -> np.ndarray:
    """Each class with all of its objects, whatever lies above them: classes x H x W of 0 and 1."""
    found = np.zeros((len(NAMES) - 1, *labels([]).shape), np.uint8)
    for one in objects:
        found[NAMES.index(one.name) - 1][one.pixels()] = 1
    return found


def without_background(objects: list[Box]) -> np.ndarray:
    mask = labels(objects)
    return np.where(mask == 0, IGNORE_INDEX, mask - 1)


def as_in_a_city(objects: list[Box]) -> np.ndarray:
    of_nineteen = np.array([IGNORE_INDEX, 13, 11], np.uint8)  # the car is the 14th, the person the 12th
    found: np.ndarray = of_nineteen[labels(objects)]
    return found


EXPECTED: dict[Callable[..., None], Callable[[list[Box]], np.ndarray]] = {
    ade20k: without_background,
    cityscapes: as_in_a_city,
    instance_masks: lambda objects: (labels(objects) > 0).astype(np.uint8),
    class_folders: overlapping,
}
WITH_OBJECTS = (cityscapes, instance_masks)
WITHOUT_BACKGROUND = (ade20k, cityscapes)


@pytest.mark.parametrize("write", EXPECTED)
@settings(max_examples=40)
@given(st.lists(st.lists(boxes(), max_size=5), max_size=3))
@pytest.mark.unhurried
def test_what_is_written_is_what_is_read(write: Callable[..., None], drawn: list[list[Box]]) -> None:
    if write in WITHOUT_BACKGROUND:
        drawn = [objects for objects in drawn if objects]  # an image without any is all void, and refused
    scenes = {"one": SCENES["one"]} | {f"drawn-{number}": objects for number, objects in enumerate(drawn)}
    with TemporaryDirectory() as folder:
        dataset = open_dataset(written(write, Path(folder) / "data", scenes))
        assert dataset.format == write.__name__
        found = {sample.id: (sample, mask) for sample, _, mask in decoded(dataset)}
        assert found.keys() == scenes.keys()
        for name, objects in scenes.items():
            sample, mask = found[name]
            assert (mask == EXPECTED[write](objects)).all()
            assert write not in WITH_OBJECTS or are_its_objects(sample, objects)


def test_every_format_is_written_at_random() -> None:
    of_common_scenes = {name for name in catalog.names("formats") if any(write.__name__.startswith(name) for write in WRITERS)}
    assert of_common_scenes | {write.__name__ for write in EXPECTED} == set(catalog.names("formats"))
