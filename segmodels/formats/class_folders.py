"""`images/` and `masks/<class>/`, one mask for each class, matched by the files' names without suffix: for classes that overlap.

A mask holds 255 (or 1) where the class is, 0 where it is not, 127 or 128 where nobody knows. A class without a mask for an image is
not in it; an image with nothing in it needs one empty mask, which says that somebody looked. `classes.json` may name the classes, in
their order and with their colours; an optional `samples.csv` gives splits and groups (see _files.py).
"""

import os
from collections.abc import Iterator
from pathlib import Path

from segmodels.annotations import LayerFiles
from segmodels.errors import DatasetError
from segmodels.formats._classes import from_json
from segmodels.formats._files import by_stem
from segmodels.images import SUFFIXES
from segmodels.samples import Sample, SegmentationClass, default_color


def detect(root: Path) -> str | None:
    """Folders of masks that are not, as sequences are, folders of images too."""
    if not (root / "images").is_dir() or not (root / "masks").is_dir():
        return None
    folders = _folders(root)
    loose = any(path.suffix.lower() in SUFFIXES for path in (root / "masks").iterdir())
    if not folders or loose or any((root / "images" / name).is_dir() for name in folders):
        return None
    return f"has images/ and masks/ with a folder for each of {len(folders)} classes, such as {folders[0]}/"


def classes(root: Path) -> list[SegmentationClass] | None:
    if (root / "classes.json").is_file():
        return from_json(root / "classes.json")
    return [SegmentationClass(name, index, default_color(index)) for index, name in enumerate(_folders(root))]


def notes(root: Path) -> list[Path]:
    return [root / name for name in ("classes.json",) if (root / name).is_file()]


def read(root: Path) -> Iterator[Sample]:
    """Every image with its masks, by id.

    Raises:
        DatasetError: a folder is missing, or masks and images do not pair up; lists every file without a partner, or with several.
    """
    if not (root / "images").is_dir() or not (root / "masks").is_dir():
        raise DatasetError(f"{root}: the format `class_folders` needs images/ and masks/<class>/")
    images, clashes = by_stem(root / "images")
    problems = list(clashes.values())
    layers, unclear = dict[str, dict[str, Path]](), set[str]()
    for name in _folders(root):
        layers[name], of_class = by_stem(root / "masks" / name)
        problems += of_class.values()
        unclear |= of_class.keys()  # without this mask the image would seem to have nothing of the class
    problems += [
        f"{path}: has no image; expected {root / 'images' / stem}.png or .jpg"
        for masks in layers.values()
        for stem, path in sorted(masks.items())
        if stem not in images and stem not in clashes
    ]
    problems += [
        f"{path}: has no mask; if nothing is in it, add an empty one, e.g. {root / 'masks' / min(layers, default='<class>') / stem}.png"
        for stem, path in sorted(images.items())
        if stem not in unclear and not any(stem in masks for masks in layers.values())
    ]
    for stem in sorted(images.keys() - unclear):
        masks = {name: paths[stem] for name, paths in layers.items() if stem in paths}
        if masks:
            yield Sample(stem, images[stem], LayerFiles(masks))
    if problems:
        raise DatasetError(f"{root}: {len(problems)} files do not pair up", problems)


def _folders(root: Path) -> list[str]:
    """Those with a mask in them: a class without any is not known, here or in a copy, which has no empty folders."""
    with os.scandir(root / "masks") as entries:  # which tell folders from very many files without asking for each
        inside = sorted(one.name for one in entries if one.is_dir() and not one.name.startswith("."))
    return [name for name in inside if any(by_stem(root / "masks" / name))]
