"""A folder for each image, with `images/` and `masks/` in it: one picture an object, 255 where it is. As the Data Science Bowl 2018 has it.

What no mask covers is background. The folders may lie below another one, such as `stage1_train/`.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from segmodels.annotations import BACKGROUND, ObjectFiles
from segmodels.errors import DatasetError
from segmodels.formats._files import SPLIT_FOLDERS, is_picture
from segmodels.samples import Sample, SegmentationClass, default_color

OBJECT = "object"


def detect(root: Path) -> str | None:
    first = next(_folders(root), None)
    return f"{first.relative_to(root)}/ has images/ and a masks/ with a picture for each object" if first is not None else None


def classes(root: Path) -> list[SegmentationClass] | None:
    return [SegmentationClass(BACKGROUND, 0, (0, 0, 0)), SegmentationClass(OBJECT, 1, default_color(1))]


def notes(root: Path) -> list[Path]:
    return []


def read(root: Path) -> Iterator[Sample]:
    """Every image with its objects.

    Raises:
        DatasetError: a folder has no image or several, or no masks; lists all of them.
    """
    samples, problems = [], []
    for folder in _folders(root):
        images, masks = ([path for path in sorted((folder / kind).iterdir()) if is_picture(path)] for kind in ("images", "masks"))
        if len(images) != 1:
            problems.append(f"{folder / 'images'}: has {len(images)} pictures; expected one, whose objects are in masks/")
        elif not masks:
            problems.append(f"{folder / 'masks'}: is empty; if nothing is in the image, add one mask that is all 0")
        else:
            samples.append(Sample(folder.name, images[0], ObjectFiles(OBJECT, masks)))
    yield from samples
    if problems:
        raise DatasetError(f"{root}: {len(problems)} folders cannot be used", problems)


def _folders(root: Path) -> Iterator[Path]:
    below = _directories(root)
    found = [
        folder
        for folder in [*below, *(deeper for one in below for deeper in _directories(one))]
        if folder.name.lower() not in SPLIT_FOLDERS and (folder / "images").is_dir() and (folder / "masks").is_dir()
    ]
    paired = {folder: _paired(folder) for folder in found}
    objects = any(number is None for number in paired.values())
    # among folders of objects, one pair is an image with one object, whose mask bears its name
    yield from (folder for folder, number in paired.items() if number is None or (objects and number == 1))


def _directories(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(folder / one.name for one in entries if one.is_dir())


def _paired(folder: Path) -> int | None:
    """How many images have a mask of their name, if all have: a dataset of its own, in the format `folder`; else None."""
    images, masks = ({path.stem for path in (folder / kind).iterdir() if is_picture(path)} for kind in ("images", "masks"))
    return len(images) if images == masks else None
