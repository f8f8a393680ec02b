"""`images/` and `masks/`, matched by the files' names without suffix.

Classes stand in `classes.json`, else in the palette of the masks. An optional `samples.csv` gives splits and groups (see _files.py).
"""

from collections.abc import Iterator
from pathlib import Path

from segmodels.errors import DatasetError
from segmodels.formats import class_folders
from segmodels.formats._classes import from_json, from_palettes
from segmodels.formats._files import by_stem, read_facts
from segmodels.samples import Sample, SegmentationClass


def detect(root: Path) -> bool:
    return ((root / "images").is_dir() or (root / "masks").is_dir()) and not class_folders.detect(root)


def classes(root: Path) -> list[SegmentationClass] | None:
    if (root / "classes.json").is_file():
        return from_json(root / "classes.json")
    return from_palettes(sorted(by_stem(root / "masks").values()))


def read(root: Path) -> Iterator[Sample]:
    """Every image with its mask, by id.

    Raises:
        DatasetError: a folder is missing, or images and masks do not pair up; lists every file without a partner.
    """
    if not (root / "images").is_dir() and not (root / "masks").is_dir():
        raise DatasetError(f"{root}: has neither images/ nor masks/; the format `folder` needs both")
    images, masks = by_stem(root / "images"), by_stem(root / "masks")
    alone = [f"{images[i]}: has no mask; expected {root / 'masks' / i}.png" for i in sorted(images.keys() - masks.keys())]
    alone += [
        f"{masks[i]}: has no image; expected {root / 'images' / i}.png or .jpg" for i in sorted(masks.keys() - images.keys())
    ]
    if alone:
        raise DatasetError(f"{root}: {len(alone)} files have no partner; add it or remove the file", alone)
    facts = read_facts(root / "samples.csv", set(images))
    for name in sorted(images):
        split, group = facts.get(name, (None, None))
        yield Sample(name, images[name], masks[name], split=split, group=group)
