"""COCO's panoptic format: a picture of coloured segments for each image, and a JSON that says what they are. Nothing is void but number 0.

The pictures lie in a folder of the JSON's name (`panoptic_val2017.json`, `panoptic_val2017/`); the images anywhere else in the dataset.
"""

from collections.abc import Hashable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from segmodels.annotations import Segment, SegmentsFile
from segmodels.errors import DatasetError
from segmodels.formats import _coco
from segmodels.formats._files import Pictures, leaves, read_json, split_of, unique_ids
from segmodels.samples import Sample, SegmentationClass

KEY = "segments_info"


def detect(root: Path) -> str | None:
    found = _coco.files(root, KEY)
    return f"{found[0].relative_to(root)} lists the segments of panoptic pictures" if found else None


def classes(root: Path) -> list[SegmentationClass] | None:
    return _coco.classes(_coco.categories(_coco.files(root, KEY)), background=False)


def notes(root: Path) -> list[Path]:
    return _coco.files(root, KEY)


def read(root: Path) -> Iterator[Sample]:
    """Every image with segments.

    Raises:
        DatasetError: no such JSON, or entries that cannot be understood or whose pictures are missing; lists all of them.
    """
    paths = _coco.files(root, KEY)
    if not paths:
        raise DatasetError(
            f"{root}: has no JSON of images, categories and annotations with segments_info; `coco_panoptic` needs one"
        )
    problems: list[str] = []
    found: dict[Path, tuple[Path, SegmentsFile]] = {}
    folders = {path: path.with_suffix("") for path in paths}
    pictures = Pictures(root, without=frozenset(folder.name for folder in folders.values()))
    categories = _coco.categories(paths)
    for path, folder in folders.items():
        entries = dict(_coco.images(path, problems))
        for place, one in enumerate(read_json(path)["annotations"]):
            annotation = _annotation(one, path, folder, categories)
            image = one.get("image_id") if isinstance(one, dict) else None
            if isinstance(annotation, str):
                problems.append(f"{path}: annotations[{place}]: {annotation}")
                continue
            if not isinstance(image, Hashable) or (image := _coco.same_id(image)) not in entries:
                problems.append(f"{path}: annotations[{place}]: there is no image {image}; list it under `images`")
                continue
            entry = entries[image]
            if entry is None:
                continue
            picture = pictures.find(str(entry["file_name"]), beside=path)
            if isinstance(picture, str):
                problems.append(f"{path}: image {image}: {picture}")
            elif picture in found:
                problems.append(f"{path}: image {image}: {picture} is listed twice, also in {found[picture][0]}")
            else:
                found[picture] = path, annotation
    ids = unique_ids({picture: picture.relative_to(root) for picture in found})
    for picture, (path, annotation) in found.items():
        yield Sample(ids[picture], picture, annotation, split=split_of(path.stem))
    if problems:
        raise DatasetError(f"{root}: {len(problems)} entries cannot be used", problems)


def _annotation(one: Any, path: Path, folder: Path, categories: dict[int, dict[str, Any]]) -> SegmentsFile | str:
    """Or what is wrong with it."""
    try:
        name = str(one["file_name"])
        listed = [(int(info["id"]), info["category_id"], bool(info.get("iscrowd"))) for info in one[KEY]]
        missing = sorted({str(category) for _, category, _ in listed if category not in categories})
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return f"is {str(one)[:80]}; expected `file_name`, `image_id` and `{KEY}` with `id` and `category_id`"
    if missing:
        return f"there is no category {', '.join(missing)}"
    if leaves(name):
        return f"{name!r} leads out of the dataset's folder"
    segments = {
        number: Segment(categories[category]["name"], crowd, bool(categories[category].get("isthing", 1)))
        for number, category, crowd in listed
    }
    return SegmentsFile(folder / PurePosixPath(name), path, segments)
