"""`images/` and `masks/`, or mmsegmentation's `img_dir/` and `ann_dir/`, matched by the files' names without suffix.

Folders named after the splits may stand below them (`images/train/`) or above (`train/images/`), and then are the splits. Classes stand in
`classes.json`, else with their colours in `label_colors.txt` (lines `red green blue name`) or `class_dict.csv` (columns name, r, g, b), else
in the palette of the masks. An optional `samples.csv` gives splits and groups (see _files.py).
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from segmodels.annotations import MaskFile
from segmodels.errors import DatasetError
from segmodels.formats import class_folders
from segmodels.formats._classes import COLORS, from_colors, from_json, from_palettes
from segmodels.formats._files import SPLIT_FOLDERS, by_stem
from segmodels.samples import Sample, SegmentationClass, Split

LAYOUTS = (("images", "masks"), ("img_dir", "ann_dir"))
"""Folders of images and of masks, in any letter case."""


def detect(root: Path) -> str | None:
    if class_folders.detect(root) is not None:
        return None
    found = _places(root)
    if found and found[0][0].parent != root:
        return f"has {found[0][0].relative_to(root)}/ and {found[0][1].relative_to(root)}/"
    there = [f"{folder.name}/" for images, masks, _ in found for folder in (images, masks) if folder.is_dir()]
    if found and len(there) < 2 and not found[0][1].is_dir():
        # what else lies there may be the labels, of another format
        known = {found[0][0].name, "classes.json", "samples.csv", "segmodels.json", "splits.parquet", *COLORS}
        others = [path.name for path in root.iterdir() if path.name not in known and not path.name.startswith(".")]
        if others or (there and any(found[0][0].rglob("*.json"))):
            return None
    return f"has {' and '.join(there)}" if there else None


def classes(root: Path) -> list[SegmentationClass] | None:
    if (root / "classes.json").is_file():
        return from_json(root / "classes.json")
    for name in COLORS:
        if (root / name).is_file():
            return from_colors(root / name)
    return from_palettes(sorted(mask for _, masks, _ in _places(root) for mask in by_stem(masks)[0].values()))


def notes(root: Path) -> list[Path]:
    return [root / name for name in ("classes.json", *COLORS) if (root / name).is_file()]


def read(root: Path) -> Iterator[Sample]:
    """Every image with its mask.

    Raises:
        DatasetError: a folder is missing, or images and masks do not pair up; lists every file without a partner, or with several.
    """
    places = _places(root)
    if not places:
        raise DatasetError(f"{root}: has neither images/ nor masks/; the format `folder` needs both")
    samples, problems = list[Sample](), list[str]()
    for where, labels, of_place in places:
        (images, image_clashes), (masks, mask_clashes) = by_stem(where), by_stem(labels)
        problems += [*image_clashes.values(), *mask_clashes.values()]
        problems += [
            f"{images[i]}: has no mask; expected {labels / i}.png"
            for i in sorted(images.keys() - masks.keys() - mask_clashes.keys())
        ]
        problems += [
            f"{masks[i]}: has no image; expected {where / i}.png or .jpg"
            for i in sorted(masks.keys() - images.keys() - image_clashes.keys())
        ]
        both = sorted(images.keys() & masks.keys())
        first = {name: SPLIT_FOLDERS.get(PurePosixPath(name).parts[0].lower()) if "/" in name else None for name in both}
        by_folder = all(first.values())
        above = "" if of_place is None else f"{where.parent.name}/"
        samples += [
            Sample(f"{above}{name}", images[name], MaskFile(masks[name]), split=of_place or (first[name] if by_folder else None))
            for name in both
        ]
    yield from samples
    if problems:
        raise DatasetError(f"{root}: {len(problems)} files do not pair up", problems)


def _places(root: Path) -> list[tuple[Path, Path, Split | None]]:
    """Folders of images and of masks, with the split whose they are: in the dataset's folder, of which one may be missing, else in folders of splits."""
    below = _folders(root)
    for images, masks in LAYOUTS:
        if images in below or masks in below:
            return [(below.get(images, root / images), below.get(masks, root / masks), None)]
    found = list[tuple[Path, Path, Split | None]]()
    for name, split in SPLIT_FOLDERS.items():
        inside = _folders(below[name]) if name in below else {}
        for images, masks in LAYOUTS:
            if images in inside and (masks in inside or split != "test"):  # the labels of test images are often kept
                found.append((inside[images], inside.get(masks, below[name] / masks), split))
    return found if any(masks.is_dir() for _, masks, _ in found) else []


def _folders(folder: Path) -> dict[str, Path]:
    """By name in small letters."""
    return {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
