"""`images/` and `masks/`, matched by the files' names without suffix.

Classes stand in `classes.json`, else in the palette of the masks. An optional `samples.csv` with the columns `id`, `split` and
`group` (each of the last two may be missing or empty) gives splits and groups.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from segmodels.errors import DatasetError
from segmodels.formats._classes import from_json, from_palettes
from segmodels.images import SUFFIXES
from segmodels.samples import SPLITS, Sample, SegmentationClass, Split


def detect(root: Path) -> bool:
    return (root / "images").is_dir() and (root / "masks").is_dir()


def classes(root: Path) -> list[SegmentationClass] | None:
    if (root / "classes.json").is_file():
        return from_json(root / "classes.json")
    return from_palettes(sorted(_by_stem(root / "masks").values()))


def read(root: Path) -> Iterator[Sample]:
    """Every image with its mask, by id.

    Raises:
        DatasetError: a folder is missing, or images and masks do not pair up; lists every file without a partner.
    """
    images, masks = _by_stem(root / "images"), _by_stem(root / "masks")
    alone = [f"{images[i]}: has no mask; expected {root / 'masks' / i}.png" for i in sorted(images.keys() - masks.keys())]
    alone += [
        f"{masks[i]}: has no image; expected {root / 'images' / i}.png or .jpg" for i in sorted(masks.keys() - images.keys())
    ]
    if alone:
        raise DatasetError(f"{root}: {len(alone)} files have no partner; add it or remove the file", alone)
    facts = _read_csv(root / "samples.csv", set(images)) if (root / "samples.csv").is_file() else {}
    for name in sorted(images):
        split, group = facts.get(name, (None, None))
        yield Sample(name, images[name], masks[name], split=split, group=group)


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DatasetError(f"{folder}: folder is missing; the format `folder` needs images/ and masks/")
    found: dict[str, Path] = {}
    clashes = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            clashes.append(f"{path} and {found[name]}: same name; rename one")
        found[name] = path
    if clashes:
        raise DatasetError(f"{folder}: {len(clashes)} names are taken twice", clashes)
    return found


def _read_csv(path: Path, known: set[str]) -> dict[str, tuple[Split | None, str | None]]:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if "id" not in table:
        raise DatasetError(f"{path}: has no column `id`, only {', '.join(table.columns)}; add it")
    problems = [f"{one}: no such image" for one in table["id"] if one not in known]
    problems += [f"{one}: listed twice" for one in table["id"][table["id"].duplicated()]]
    facts: dict[str, tuple[Split | None, str | None]] = {}
    for row in table.to_dict("records"):
        name, split, group = row["id"], row.get("split") or None, row.get("group") or None
        if split is not None and split not in SPLITS:
            problems.append(f"{name}: split is {split!r}; expected one of {', '.join(SPLITS)} or nothing")
        facts[name] = split, group
    if problems:
        raise DatasetError(f"{path}: {len(problems)} wrong rows", problems)
    return facts
