"""COCO's JSON of polygons and run lengths, as labelling tools export it too (`_annotations.coco.json` beside the images).

Everything that no polygon covers is `background`. A ring within another that runs the other way round is a hole. Regions of a crowd are
of their class, but of no object. The splits are told by the files' or their folders' names (`instances_train2017.json`, `valid/`).
"""

from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from segmodels.annotations import Region, Regions
from segmodels.errors import DatasetError
from segmodels.formats import _coco
from segmodels.formats._files import Pictures, read_json, split_of, unique_ids
from segmodels.samples import Sample, SegmentationClass

KEY = "segmentation"


def detect(root: Path) -> str | None:
    found = _coco.files(root, KEY)
    return f"{found[0].relative_to(root)} lists images, categories and segmentations" if found else None


def classes(root: Path) -> list[SegmentationClass] | None:
    return _coco.classes(_coco.categories(_coco.files(root, KEY)), background=True)


def notes(root: Path) -> list[Path]:
    return _coco.files(root, KEY)


def read(root: Path) -> Iterator[Sample]:
    """Every image of the JSON files.

    Raises:
        DatasetError: no such file, or entries that cannot be understood or whose pictures are missing; lists all of them.
    """
    paths = _coco.files(root, KEY)
    if not paths:
        raise DatasetError(
            f"{root}: has no JSON with images, categories and annotations with a segmentation; the format `coco` needs one"
        )
    pictures, problems = Pictures(root), list[str]()
    named = {number: one["name"] for number, one in _coco.categories(paths).items()}
    found: dict[Path, tuple[Path, Regions]] = {}
    for path in paths:
        regions, spoiled = _regions_by_image(path, named, problems)
        known = set()
        for number, entry in _coco.images(path, problems):
            known.add(number)
            if entry is None:
                continue
            picture = pictures.find(str(entry["file_name"]), beside=path)
            if isinstance(picture, str):
                problems.append(f"{path}: image {number}: {picture}")
            elif picture in found:
                problems.append(f"{path}: image {number}: {picture} is listed twice, also in {found[picture][0]}")
            elif number not in spoiled:
                size = (entry["height"], entry["width"])
                found[picture] = path, Regions(path, regions.get(number, ()), size, f"image {number}")
        problems += [
            f"{path}: annotations are of an image {number} that is not listed; list it under `images`, or remove them"
            for number in regions.keys() - known
        ]
    ids = unique_ids({picture: picture.relative_to(root) for picture in found})
    for picture, (path, annotation) in found.items():
        yield Sample(ids[picture], picture, annotation, split=split_of(path.stem) or split_of(path.parent.name))
    if problems:
        raise DatasetError(f"{root}: {len(problems)} entries cannot be used", problems)


def _regions_by_image(path: Path, named: dict[int, str], problems: list[str]) -> tuple[dict[Any, list[Region]], set[Any]]:
    """The regions by image, and the images of which some could not be understood."""
    found: dict[Any, list[Region]] = {}
    spoiled = set()
    for place, one in enumerate(read_json(path)["annotations"]):
        where = f"{path}: annotations[{place}]"
        try:
            image, category, segmentation = one["image_id"], one["category_id"], one.get(KEY)
        except (KeyError, TypeError, AttributeError):
            problems.append(f"{where} is {str(one)[:80]}; expected `image_id`, `category_id` and `{KEY}`")
            continue
        if not isinstance(image, Hashable):
            problems.append(f"{where}: image_id is {str(image)[:80]}; expected the id of an image")
            continue
        image = _coco.same_id(image)
        region: Region | str
        if not isinstance(category, Hashable) or category not in named:
            region = f"there is no category {category!r}; list it under `categories`"
        elif not segmentation:
            region = f"has a box and no {KEY}; label its outline or remove it"
        else:
            region = _region(named[category], segmentation, crowd=bool(one.get("iscrowd")))
        if isinstance(region, str):
            problems.append(f"{where}: {region}")
            spoiled.add(image)
        else:
            found.setdefault(image, []).append(region)
    return found, spoiled


def _region(name: str, segmentation: Any, *, crowd: bool) -> Region | str:
    """Or what is wrong with it."""
    if isinstance(segmentation, dict):
        if not {"counts", "size"} <= segmentation.keys():
            return f"its {KEY} has neither polygons nor `counts` and `size`"
        return Region(name, runs=segmentation, crowd=crowd)
    try:
        rings = [np.asarray(ring, np.float64).reshape(-1, 2) for ring in segmentation]
    except (ValueError, TypeError, OverflowError):
        return f"its {KEY} is no list of polygons `[x1, y1, x2, y2, ...]`"
    short = [len(ring) for ring in rings if len(ring) < 3]
    return f"a polygon has {short[0]} corners; expected three or more" if short else Region(name, rings, crowd=crowd)
