"""What COCO's two formats share: JSON files of images, annotations and categories."""

from collections.abc import Hashable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from segmodels.annotations import BACKGROUND, is_background
from segmodels.errors import DatasetError
from segmodels.formats._files import matching, read_json
from segmodels.samples import Color, SegmentationClass, default_color

DEPTH = 3
"""Folders below the dataset's in which its JSON may lie, such as `annotations/`."""

INSTANCES = "instances"
"""How the names of COCO's own files begin that are meant; others may say something else of the same images."""


def files(root: Path, having: str) -> list[Path]:
    """The JSON files whose annotations have a key (`segmentation` or `segments_info`)."""
    found = [path for depth in range(DEPTH + 1) for path in matching(root, "*/" * depth + "*.json") if _has(path, having)]
    first = [path for path in found if path.name.startswith(INSTANCES)]
    known = set().union(*map(_names, first))
    return [path for path in found if path in first or not known.intersection(_names(path))]


def _names(path: Path) -> set[str]:
    return {str(one.get("file_name")) for one in read_json(path)["images"] if isinstance(one, dict)}


def _has(path: Path, key: str) -> bool:
    stat = path.stat()
    return _told(path, key, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1024)  # COCO's folder has more files than are kept parsed, and each is asked again and again
def _told(path: Path, key: str, _mtime_ns: int, _size: int) -> bool:
    try:
        content = read_json(path)
    except (DatasetError, OSError):
        return False
    if not isinstance(content, dict) or not all(
        isinstance(content.get(name), list) for name in ("images", "annotations", "categories")
    ):
        return False
    return any(isinstance(one, dict) and key in one for one in content["annotations"][:100])


def categories(paths: list[Path]) -> dict[int, dict[str, Any]]:
    """The categories by id, of all files together.

    Raises:
        DatasetError: an entry without id or name, or two files that say different things of one id.
    """
    found: dict[int, dict[str, Any]] = {}
    problems = []
    for path in paths:
        for place, one in enumerate(read_json(path)["categories"]):
            if not isinstance(one, dict) or not isinstance(one.get("id"), int) or not isinstance(one.get("name"), str):
                problems.append(f"{path}: categories[{place}] is {one!r}; expected an object with `id` and `name`")
            elif found.setdefault(one["id"], one)["name"] != one["name"]:
                problems.append(f"{path}: category {one['id']} is {one['name']!r}, elsewhere {found[one['id']]['name']!r}")
    if problems:
        raise DatasetError(f"{paths[0].parent}: {len(problems)} wrong categories", problems)
    return found


def classes(found: dict[int, dict[str, Any]], *, background: bool) -> list[SegmentationClass]:
    """The categories as classes; before them, if asked for and none of them is it, the background."""
    by_name: dict[str, dict[str, Any]] = {}
    for _, one in sorted(found.items()):  # some tools list a group and its only member, by one name
        by_name.setdefault(one["name"], one)
    named = [(name, _color(one, index)) for index, (name, one) in enumerate(by_name.items(), start=int(background))]
    if background and not any(is_background(name) for name, _ in named):
        named.insert(0, (BACKGROUND, (0, 0, 0)))
    return [SegmentationClass(name, value, color) for value, (name, color) in enumerate(named)]


def _color(category: dict[str, Any], index: int) -> Color:
    given = category.get("color")
    if isinstance(given, list) and len(given) == 3 and all(isinstance(one, int) and 0 <= one <= 255 for one in given):
        return given[0], given[1], given[2]
    return default_color(index)


def same_id(number: Hashable) -> str:
    """An image's id, of which annotations may speak as a number or a text."""
    return str(int(number) if isinstance(number, float) and number.is_integer() else number)


def images(path: Path, problems: list[str]) -> Iterator[tuple[Any, dict[str, Any] | None]]:
    """Every image's id and entry, None where several have the id; these and those that lack something are noted among the problems."""
    found: dict[Any, list[dict[str, Any]]] = {}
    for place, one in enumerate(read_json(path)["images"]):
        if (
            not isinstance(one, dict)
            or any(key not in one for key in ("id", "file_name", "height", "width"))
            or not isinstance(one["id"], Hashable)
        ):
            problems.append(f"{path}: images[{place}] is {str(one)[:80]}; expected `id`, `file_name`, `height` and `width`")
            continue
        found.setdefault(same_id(one["id"]), []).append(one)
    for number, entries in found.items():
        if len(entries) > 1:
            names = ", ".join(str(one["file_name"]) for one in entries[:5])
            problems.append(
                f"{path}: image id {number} is of {len(entries)} pictures ({names}); which one annotations mean is not known"
            )
        yield number, entries[0] if len(entries) == 1 else None
