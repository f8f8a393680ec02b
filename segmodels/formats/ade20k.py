"""ADE20K as the scene parsing challenge has it: `images/` and `annotations/` with `training/` and `validation/`, `objectInfo150.txt`.

Masks hold 1 to 150; 0 is everything else, and void.
"""

from collections.abc import Iterator
from pathlib import Path

from segmodels.annotations import MaskFile
from segmodels.errors import DatasetError
from segmodels.formats._classes import from_json
from segmodels.formats._files import by_stem, matching, read_text, unique_ids
from segmodels.samples import Sample, SegmentationClass, Split, default_color

NAMES = "objectInfo150.txt"
SPLITS: dict[str, Split] = {"training": "train", "validation": "val"}
OTHER = SegmentationClass("other", 0, (0, 0, 0), ignore=True)


def detect(root: Path) -> str | None:
    inside = [
        f"annotations/{name}" for name in SPLITS if (root / "annotations" / name).is_dir() and (root / "images" / name).is_dir()
    ]
    return f"has {' and '.join(inside)} beside images/" if inside else None


def classes(root: Path) -> list[SegmentationClass] | None:
    """From `classes.json`, else from the table `Idx Ratio Train Val Stuff Name`, of whose names the first is taken."""
    if (root / "classes.json").is_file():
        return from_json(root / "classes.json")
    if not (root / NAMES).is_file():
        return None
    found, problems = [OTHER], []
    for number, line in enumerate(read_text(root / NAMES).splitlines()[1:], start=2):
        columns = line.split("\t")
        if not line.strip():
            continue
        if len(columns) < 6 or not columns[0].strip().isdigit():
            problems.append(f"{root / NAMES}:{number}: {line!r}; expected six columns, the first a number")
            continue
        value = int(columns[0])
        found.append(SegmentationClass(columns[-1].split(",")[0].strip(), value, default_color(value - 1)))
    if problems:
        raise DatasetError(f"{root / NAMES}: {len(problems)} wrong lines", problems)
    return _told_apart(found)


def notes(root: Path) -> list[Path]:
    return [*matching(root, "classes.json"), *matching(root, NAMES)]


def read(root: Path) -> Iterator[Sample]:
    """Every image of both splits.

    Raises:
        DatasetError: a folder is missing, or images and masks do not pair up; lists every file without a partner, or with several.
    """
    if detect(root) is None:
        raise DatasetError(f"{root}: the format `ade20k` needs images/ and annotations/ with {' and '.join(SPLITS)} in both")
    pairs, problems = list[tuple[Path, Path, Split]](), list[str]()
    for folder, split in SPLITS.items():
        (images, image_clashes), (masks, mask_clashes) = (by_stem(root / kind / folder) for kind in ("images", "annotations"))
        problems += [*image_clashes.values(), *mask_clashes.values()]
        problems += [
            f"{path}: has no mask; expected {root / 'annotations' / folder / name}.png"
            for name, path in images.items()
            if name not in masks and name not in mask_clashes
        ]
        problems += [
            f"{path}: has no image; expected {root / 'images' / folder / name}.jpg"
            for name, path in masks.items()
            if name not in images and name not in image_clashes
        ]
        pairs += [(images[name], masks[name], split) for name in sorted(images.keys() & masks.keys())]
    ids = unique_ids({image: image.relative_to(root / "images") for image, _, _ in pairs})
    for image, mask, split in pairs:
        yield Sample(ids[image], image, MaskFile(mask), split=split)
    if problems:
        raise DatasetError(f"{root}: {len(problems)} files do not pair up", problems)


def _told_apart(classes: list[SegmentationClass]) -> list[SegmentationClass]:
    """ADE20K has two kinds of `screen` among others: the later ones get their number behind the name."""
    seen: set[str] = set()
    found = []
    for one in classes:
        name = f"{one.name} {one.value}" if one.name in seen else one.name
        seen.add(name)
        found.append(SegmentationClass(name, one.value, one.color, one.ignore))
    return found
