"""`images/` and `masks/`, matched by the files' names without suffix.

Classes stand in `classes.json`, else with their colours in `label_colors.txt` (lines `red green blue name`) or `class_dict.csv` (columns
name, r, g, b), else in the palette of the masks. An optional `samples.csv` gives splits and groups (see _files.py).
"""

from collections.abc import Iterator
from pathlib import Path

from segmodels.annotations import MaskFile
from segmodels.errors import DatasetError
from segmodels.formats import class_folders
from segmodels.formats._classes import COLORS, from_colors, from_json, from_palettes
from segmodels.formats._files import by_stem
from segmodels.samples import Sample, SegmentationClass


def detect(root: Path) -> str | None:
    if class_folders.detect(root) is not None:
        return None
    there = [f"{name}/" for name in ("images", "masks") if (root / name).is_dir()]
    if "masks/" not in there:
        # what else lies there may be the labels, of another format
        known = {"images", "classes.json", "samples.csv", "segmodels.json", "splits.parquet", *COLORS}
        others = [path.name for path in root.iterdir() if path.name not in known and not path.name.startswith(".")]
        if others or (there and any((root / "images").rglob("*.json"))):
            return None
    return f"has {' and '.join(there)}" if there else None


def classes(root: Path) -> list[SegmentationClass] | None:
    if (root / "classes.json").is_file():
        return from_json(root / "classes.json")
    for name in COLORS:
        if (root / name).is_file():
            return from_colors(root / name)
    masks, _ = by_stem(root / "masks")
    return from_palettes(sorted(masks.values()))


def notes(root: Path) -> list[Path]:
    return [root / name for name in ("classes.json", *COLORS) if (root / name).is_file()]


def read(root: Path) -> Iterator[Sample]:
    """Every image with its mask, by id.

    Raises:
        DatasetError: a folder is missing, or images and masks do not pair up; lists every file without a partner, or with several.
    """
    if not (root / "images").is_dir() and not (root / "masks").is_dir():
        raise DatasetError(f"{root}: has neither images/ nor masks/; the format `folder` needs both")
    (images, image_clashes), (masks, mask_clashes) = by_stem(root / "images"), by_stem(root / "masks")
    problems = [*image_clashes.values(), *mask_clashes.values()]
    problems += [
        f"{images[i]}: has no mask; expected {root / 'masks' / i}.png"
        for i in sorted(images.keys() - masks.keys() - mask_clashes.keys())
    ]
    problems += [
        f"{masks[i]}: has no image; expected {root / 'images' / i}.png or .jpg"
        for i in sorted(masks.keys() - images.keys() - image_clashes.keys())
    ]
    for name in sorted(images.keys() & masks.keys()):
        yield Sample(name, images[name], MaskFile(masks[name]))
    if problems:
        raise DatasetError(f"{root}: {len(problems)} files do not pair up", problems)
