"""YOLO's segmentation labels: `labels/**/x.txt` beside `images/**/x.jpg`, lines of a class and a polygon in shares of width and height.

Classes stand in `data.yaml` (`names`) or `classes.txt`. An image without a text has nothing in it but background. The splits are told by
`train`, `val` and `test` of `data.yaml`, folders or lists of pictures, else by the folders' names: `images/train/` or `train/images/`.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from segmodels import safe_yaml
from segmodels.annotations import BACKGROUND, Region, Regions, is_background
from segmodels.errors import DatasetError
from segmodels.formats._files import is_hidden, is_picture, matching, read_text, split_of, unique_ids
from segmodels.samples import Sample, SegmentationClass, Split, default_color

IMAGES, LABELS, NAMES = "images", "labels", "classes.txt"
MAX_YAML_BYTES = 1_000_000
KEYS: dict[Split, tuple[str, ...]] = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}
"""Of the YAML, by the split that they name."""


def detect(root: Path) -> str | None:
    folder = next((labels for _, labels in _folders(root) if set(_texts(labels)) - {labels / NAMES}), None)
    named = _named_in(root)
    if folder is None or named is None:
        return None
    return f"{folder.relative_to(root)}/ has texts beside pictures, and {named.name} names the classes"


def classes(root: Path) -> list[SegmentationClass] | None:
    names = _names(root)
    if not any(is_background(name) for name in names):
        names = [BACKGROUND, *names]
    return [SegmentationClass(name, value, default_color(value)) for value, name in enumerate(names)]


def notes(root: Path) -> list[Path]:
    named = _named_in(root)
    return [] if named is None else [named, *(path for _, path in _splits(root) if path.suffix == ".txt")]


def read(root: Path) -> Iterator[Sample]:
    """Every picture below an `images` folder.

    Raises:
        DatasetError: no pictures, a text without a picture, or lines that are no polygons; lists all of them.
    """
    names, problems = _names(root), list[str]()
    found: dict[Path, Regions] = {}
    for images, labels in _folders(root):
        texts = {path.relative_to(labels).with_suffix(""): path for path in _texts(labels)}
        pictures = {path.relative_to(images).with_suffix(""): path for path in matching(images, "**/*") if is_picture(path)}
        without = {name.parent for name in pictures} - {name.parent for name in texts}
        if without:  # a picture without a text has nothing in it; but not each of a split
            problems += [
                f"{images / folder}: none of its pictures has a text in {labels / folder}; put the texts there, or take the pictures out"
                for folder in sorted(without)
            ]
            pictures = {name: path for name, path in pictures.items() if name.parent not in without}
        problems += [
            f"{path}: has no image; expected {images / name}.jpg"
            for name, path in texts.items()
            if name not in pictures and path != labels / NAMES
        ]
        for name, picture in pictures.items():
            text, before = texts.get(name), len(problems)
            regions = _regions(text, names, problems)
            if len(problems) == before:
                found[picture] = Regions(text, regions, shares=True)
    ids = unique_ids({picture: picture.relative_to(root) for picture in found})
    listed = _listed(root, problems)
    for picture, annotation in found.items():
        parts = [split_of(part) for part in picture.relative_to(root).parts[:-1]]
        by_folder = next((one for one in parts if one is not None), None)
        yield Sample(ids[picture], picture, annotation, split=listed.get(picture, by_folder))
    if problems:
        raise DatasetError(f"{root}: {len(problems)} lines or files cannot be used", problems)


def _folders(root: Path) -> Iterator[tuple[Path, Path]]:
    """Each `images` folder with the `labels` folder beside it."""
    for pattern in (IMAGES, f"*/{IMAGES}"):
        for images in sorted(root.glob(pattern)):
            if images.is_dir() and images.with_name(LABELS).is_dir():
                yield images, images.with_name(LABELS)


def _texts(labels: Path) -> list[Path]:
    """Of images and, where a program put it beside them, the list of the classes; also such as cannot be read, which are told then."""
    texts = (path for path in labels.rglob("*.txt") if not path.is_dir() and not is_hidden(path.relative_to(labels)))
    return sorted(texts)


def _named_in(root: Path) -> Path | None:
    candidates = [
        root / "data.yaml",
        root / "data.yml",
        root / "dataset.yaml",
        root / NAMES,
        root / LABELS / NAMES,
    ]
    return next((path for path in candidates if path.is_file()), None)


def _names(root: Path) -> list[str]:
    path = _named_in(root)
    if path is None:
        raise DatasetError(
            f"{root}: neither data.yaml nor classes.txt names the classes; the format `yolo_seg` needs one of them"
        )
    if path.name == NAMES:
        # by place: an empty line is a class without a name, which is refused
        return [line.strip() for line in read_text(path).rstrip().splitlines()]
    names = _told(path).get("names")
    if isinstance(names, dict) and all(isinstance(key, int) for key in names) and sorted(names) == list(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if (
        not isinstance(names, list)
        or not names
        or not all(isinstance(name, (str, int)) and not isinstance(name, bool) for name in names)
    ):
        raise DatasetError(
            f"{path}: names is {str(names)[:80]}; expected a list of the classes' names, or 0, 1, 2, ... with them; in quotes where a name "
            f"is yes, no, on or off"
        )
    return [str(name) for name in names]


def _told(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_YAML_BYTES:
        raise DatasetError(f"{path}: is larger than {MAX_YAML_BYTES:,} bytes; expected names of classes and little else")
    try:
        content: Any = safe_yaml.load(read_text(path))
    except yaml.YAMLError as error:
        raise DatasetError(f"{path}: is not YAML ({str(error).splitlines()[0]})") from error
    return content if isinstance(content, dict) else {}


def _splits(root: Path) -> Iterator[tuple[Split, Path]]:
    """The folders and lists of pictures that the YAML names, each with its split; none that is not there."""
    path = _named_in(root)
    content = {} if path is None or path.name == NAMES else _told(path)
    for split, keys in KEYS.items():
        for named in (content[key] for key in keys if key in content):
            for one in named if isinstance(named, list) else [named]:
                found = _found(root, str(one))
                if found is not None:
                    yield split, found


def _listed(root: Path, problems: list[str]) -> dict[Path, Split]:
    """Of each picture that they name its split."""
    splits: dict[Path, Split] = {}
    named = sorted(
        _splits(root), key=lambda one: (one[1].suffix != ".txt", -len(one[1].parts))
    )  # a folder within another counts more
    for split, path in named:
        if path.suffix != ".txt":
            for picture in (path, *path.rglob("*")):
                splits.setdefault(picture, split)
            continue
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            found = _found(root, line.strip()) if line.strip() else None
            if found is not None and splits.setdefault(found, split) != split:
                problems.append(f"{path}:{number}: {line.strip()} is in {splits[found]} already; list it once")
    return splits


def _found(root: Path, called: str) -> Path | None:
    """What a path means that was written on another machine, or of another folder: the longest end of it that is there."""
    parts = [one for one in PurePosixPath(called.replace("\\", "/")).parts if one not in ("/", ".", "..")]
    try:
        return next(
            (root.joinpath(*parts[start:]) for start in range(len(parts)) if root.joinpath(*parts[start:]).exists()), None
        )
    except (OSError, ValueError):  # no path at all
        return None


def _regions(path: Path | None, names: list[str], problems: list[str]) -> list[Region]:
    regions = list[Region]()
    try:
        lines = [] if path is None else read_text(path).splitlines()
    except DatasetError as error:
        problems.append(str(error))
        return regions
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        try:
            index, values = int(words[0]), [float(word) for word in words[1:]]
        except ValueError:
            problems.append(f"{path}:{number}: {line[:60]!r}; expected a class and numbers")
            continue
        ring = np.array(values)
        if not 0 <= index < len(names):
            problems.append(f"{path}:{number}: there is no class {index}; the classes are 0 to {len(names) - 1}")
        elif len(values) == 4:
            problems.append(
                f"{path}:{number}: is a box, not a polygon; label the outline, or choose another dataset for detection"
            )
        elif len(values) < 6 or len(values) % 2:
            problems.append(f"{path}:{number}: has {len(values)} numbers after the class; expected x y of three or more corners")
        elif not ((ring >= -0.01) & (ring <= 1.01)).all():
            problems.append(f"{path}:{number}: {ring.min():g} to {ring.max():g} are no shares of width and height from 0 to 1")
        else:
            regions.append(Region(names[index], [ring.reshape(-1, 2)]))
    return regions
