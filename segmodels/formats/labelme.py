"""labelme: a JSON beside each image, with `shapes` in pixels: polygons, rectangles, circles and masks.

What no shape covers is background. Shapes of one label and one `group_id` are one object. `__ignore__` is void.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pydantic

from segmodels.annotations import BACKGROUND, FARTHEST_PX, PngBox, Region, Regions, is_background
from segmodels.errors import DatasetError
from segmodels.formats._files import Pictures, matching, read_json, unique_ids
from segmodels.images import SUFFIXES
from segmodels.samples import Sample, SegmentationClass, default_color

IGNORED = "__ignore__"
CIRCLE_CORNERS = 72

_Pixels = Annotated[float, pydantic.Field(ge=-FARTHEST_PX, le=FARTHEST_PX)]


class _Shape(pydantic.BaseModel):
    label: str
    points: list[tuple[_Pixels, _Pixels]]
    shape_type: Literal["polygon", "rectangle", "circle", "mask"] = "polygon"
    group_id: int | None = None
    mask: str | None = None


class _File(pydantic.BaseModel):
    shapes: list[_Shape]
    imagePath: str
    imageHeight: int | None = None
    imageWidth: int | None = None


def detect(root: Path) -> str | None:
    first = next(_listed(root), None)
    return f"{first.relative_to(root)} has shapes and an imagePath" if first is not None else None


def classes(root: Path) -> list[SegmentationClass] | None:
    labels = {str(shape.get("label")) for path in _listed(root) for shape in read_json(path)["shapes"] if isinstance(shape, dict)}
    named = sorted(label for label in labels if not is_background(label) and label != IGNORED)
    found = [SegmentationClass(name, value, default_color(value)) for value, name in enumerate([BACKGROUND, *named])]
    if IGNORED in labels:
        found.append(SegmentationClass(IGNORED, len(found), (0, 0, 0), ignore=True))
    return found


def notes(root: Path) -> list[Path]:
    return []


def read(root: Path) -> Iterator[Sample]:
    """Every image with a JSON.

    Raises:
        DatasetError: no such JSON, or files that cannot be understood or have no image; lists all of them.
    """
    pictures, problems = Pictures(root), list[str]()
    found: dict[Path, Regions] = {}
    for path in _listed(root, problems):
        try:
            content = _File.model_validate(read_json(path))
            regions = [_region(shape) for shape in content.shapes]
        except pydantic.ValidationError as error:
            problems += [
                f"{path}: {'.'.join(map(str, one['loc']))}: {one['msg']} (is {str(one['input'])[:60]!r})"
                for one in error.errors()
            ]
            continue
        except ValueError as error:
            problems.append(f"{path}: {error}")
            continue
        picture = pictures.find(content.imagePath.replace("\\", "/").rsplit("/", 1)[-1], beside=path)
        if isinstance(picture, str):
            problems.append(f"{path}: {picture}")
            continue
        if picture in found:
            problems.append(f"{path}: {picture} is listed twice, also in {found[picture].path}")
            continue
        size = (content.imageHeight, content.imageWidth)
        found[picture] = Regions(path, regions, (size[0], size[1]) if size[0] is not None and size[1] is not None else None)
    if not found and not problems:
        raise DatasetError(f"{root}: has no JSON with shapes and an imagePath; the format `labelme` needs one beside each image")
    ids = unique_ids({picture: picture.relative_to(root) for picture in found})
    for picture, annotation in found.items():
        yield Sample(ids[picture], picture, annotation)
    if problems:
        raise DatasetError(f"{root}: {len(problems)} entries cannot be used", problems)


def _listed(root: Path, problems: list[str] | None = None) -> Iterator[Path]:
    """Files that labelme wrote; `problems` is told of those that lie where it writes, beside an image of their name, and cannot be read."""
    for path in matching(root, "**/*.json"):
        try:
            content = read_json(path)
        except DatasetError as error:
            if problems is not None and any(path.with_suffix(suffix).is_file() for suffix in SUFFIXES):
                problems.append(str(error))
            continue
        if isinstance(content, dict) and isinstance(content.get("shapes"), list) and isinstance(content.get("imagePath"), str):
            yield path


def _region(shape: _Shape) -> Region:
    """Raises ValueError where its points make no such shape."""
    name = BACKGROUND if is_background(shape.label) else shape.label
    together = None if shape.group_id is None else f"{shape.label} {shape.group_id}"
    points = np.array(shape.points, np.float64).reshape(-1, 2)
    expected = None if shape.shape_type == "polygon" else 2
    if len(points) < 3 if expected is None else len(points) != expected:
        raise ValueError(f"a {shape.shape_type} {shape.label!r} has {len(points)} points; expected {expected or 'three or more'}")
    if shape.shape_type == "mask":
        return Region(name, box=PngBox(_png(shape)), corner=(int(points[0, 1]), int(points[0, 0])), object=together)
    if shape.shape_type == "rectangle":
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        points = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    elif shape.shape_type == "circle":
        angles = np.arange(CIRCLE_CORNERS) * 2 * np.pi / CIRCLE_CORNERS
        points = points[0] + np.hypot(*(points[1] - points[0])) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return Region(name, [points], object=together)


def _png(shape: _Shape) -> bytes:
    """A picture of the box of the points."""
    try:
        return base64.b64decode(shape.mask or "", validate=True)
    except ValueError as error:  # also of text that is no ASCII
        raise ValueError(f"the mask of {shape.label!r} is no base64 ({error})") from error
