"""CVAT's own XML (`annotations.xml`, "CVAT for images 1.1"): polygons, boxes, ellipses and masks in pixels; what lies higher lies over it.

What no shape covers is background. Shapes of one `group_id` are one object.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmodels import bounds
from segmodels.annotations import BACKGROUND, FARTHEST_PX, Region, Regions, RunsBox, is_background
from segmodels.errors import DatasetError
from segmodels.formats._files import Pictures, matching, read_text, split_of, unique_ids
from segmodels.samples import Color, Sample, SegmentationClass, default_color

ELLIPSE_CORNERS = 72
KINDS = ("polygon", "box", "ellipse", "mask")


def detect(root: Path) -> str | None:
    found = _files(root)
    return f"{found[0].relative_to(root)} has CVAT's annotations" if found else None


def classes(root: Path) -> list[SegmentationClass] | None:
    """The labels of the task, in its order; where it lists none, those of the shapes."""
    colors: dict[str, Color | None] = {}
    for path in _files(root):
        tree = _parsed(path)
        for label in tree.iterfind("./meta//labels/label"):
            colors.setdefault(label.findtext("name", ""), _color(label.findtext("color", "")))
        for shape in (one for kind in KINDS for one in tree.iterfind(f"./image/{kind}")):
            colors.setdefault(shape.get("label", ""), None)
    named = [(name, color) for name, color in colors.items() if not is_background(name)]
    entries = [
        (BACKGROUND, (0, 0, 0)),
        *((name, color or default_color(value)) for value, (name, color) in enumerate(named, start=1)),
    ]
    return [SegmentationClass(name, value, color) for value, (name, color) in enumerate(entries)]


def notes(root: Path) -> list[Path]:
    return _files(root)


def read(root: Path) -> Iterator[Sample]:
    """Every image that the XML lists.

    Raises:
        DatasetError: no such XML, or entries that cannot be understood or have no picture; lists all of them.
    """
    paths = _files(root)
    if not paths:
        raise DatasetError(f"{root}: has no annotations.xml of CVAT; export the task as `CVAT for images 1.1`")
    pictures, problems = Pictures(root), list[str]()
    found: dict[Path, tuple[Regions, str]] = {}
    for path in paths:
        if _parsed(path).find("./track") is not None:
            problems.append(f"{path}: is of a video; export it as `CVAT for images 1.1`, with its frames")
        for image in _parsed(path).iterfind("./image"):
            called = image.get("name", "")
            picture = pictures.find(called, beside=path)
            if isinstance(picture, str):
                problems.append(f"{path}: {picture}")
                continue
            if picture in found:
                problems.append(f"{path}: {picture} is listed twice, also in {found[picture][0].path}")
                continue
            try:
                size = int(image.get("height", "")), int(image.get("width", ""))
                if wrong := bounds.too_large(size[1], size[0]):  # before memory is taken for masks of that size
                    raise ValueError(f"is said to have {wrong}")
                if others := sorted({one.tag for one in image} - {*KINDS, "tag"}):
                    raise ValueError(f"has a {others[0]}, which covers no pixels; draw it as a polygon or a mask, or take it out")
                shapes = sorted((one for one in image if one.tag in KINDS), key=lambda one: int(one.get("z_order", "0")))
                regions = [_region(one, size) for one in shapes]
            except (ValueError, TypeError) as error:
                problems.append(f"{path}: image {called!r}: {error}")
                continue
            found[picture] = Regions(path, regions, size, f"image {called!r}"), image.get("subset", "")
    ids = unique_ids({picture: picture.relative_to(root) for picture in found})
    for picture, (annotation, subset) in found.items():
        yield Sample(ids[picture], picture, annotation, split=split_of(subset))
    if problems:
        raise DatasetError(f"{root}: {len(problems)} entries cannot be used", problems)


def _files(root: Path) -> list[Path]:
    return [path for path in matching(root, "*.xml") if "<annotations>" in _beginning(path)]


def _beginning(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(2000)
    except PermissionError:
        return ""


def _parsed(path: Path) -> ET.Element:
    text = read_text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DatasetError(f"{path}: declares entities, which CVAT never writes; export it again")
    try:
        return ET.fromstring(text)  # noqa: S314 nothing can be declared in it
    except ET.ParseError as error:
        raise DatasetError(f"{path}: is not XML ({error}); export it again") from error


def _region(shape: ET.Element, size: tuple[int, int]) -> Region:
    """Raises ValueError where an attribute is missing or no number."""
    label = shape.get("label", "")
    name = BACKGROUND if is_background(label) else label
    together = None if shape.get("group_id") is None else f"group {shape.get('group_id')}"
    if shape.tag == "mask":
        row, column, height, width = (int(_number(shape, key)) for key in ("top", "left", "height", "width"))
        if min(row, column, height, width) < 0 or row + height > size[0] or column + width > size[1]:
            raise ValueError(
                f"a mask {label!r}, a box of {width} x {height} at column {column}, row {row} reaches beyond the image"
            )
        runs = [int(word) for word in shape.get("rle", "").split(",")]
        if min(runs) < 0 or sum(runs) != height * width:
            raise ValueError(f"the run lengths of a mask {label!r} cover {sum(runs)} pixels, expected {width} x {height}")
        return Region(name, box=RunsBox(tuple(runs), (height, width)), corner=(row, column), object=together)
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in shape.get("points", "").split(";")]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError(f"the points of a polygon {label!r} are no pairs of x and y")
        points = np.array([[float(one) for one in pair] for pair in pairs])
    elif shape.tag == "box":
        left, top, right, bottom = (_number(shape, key) for key in ("xtl", "ytl", "xbr", "ybr"))
        points = _turned(np.array([[left, top], [right, top], [right, bottom], [left, bottom]]), shape)
    else:
        x, y, across, along = (_number(shape, key) for key in ("cx", "cy", "rx", "ry"))
        angles = np.arange(ELLIPSE_CORNERS) * 2 * np.pi / ELLIPSE_CORNERS
        points = _turned(np.stack([x + across * np.cos(angles), y + along * np.sin(angles)], axis=1), shape)
    if len(points) < 3:
        raise ValueError(f"a polygon {label!r} has {len(points)} corners; expected three or more")
    return Region(name, [points], object=together)


def _turned(points: NDArray[np.float64], shape: ET.Element) -> NDArray[np.float64]:
    """Around their middle by the shape's rotation: degrees, clockwise as one looks at the image."""
    if shape.get("rotation") is None:
        return points
    angle, middle = np.deg2rad(_number(shape, "rotation")), points.mean(axis=0)
    turned: NDArray[np.float64] = middle + (points - middle) @ np.array(
        [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    )
    return turned


def _number(shape: ET.Element, key: str) -> float:
    text = shape.get(key)
    if text is None:
        raise ValueError(f"a {shape.tag} {shape.get('label')!r} has no {key}")
    if not abs(float(text)) <= FARTHEST_PX:
        raise ValueError(f"the {key} of a {shape.tag} {shape.get('label')!r} is {text}")
    return float(text)


def _color(text: str) -> Color | None:
    """`#rrggbb`."""
    if len(text) != 7 or not text.startswith("#"):
        return None
    try:
        return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
    except ValueError:
        return None
