"""`train.txt`, `val.txt` and `test.txt`, each line `image mask` with paths relative to the list's folder, as SegNet's CamVid has it.

The lists give the splits. The sequence is the name up to its first underscore (`0016E5_07959` -> `0016E5`), where that is not the same of all.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from segmodels.annotations import MaskFile
from segmodels.errors import DatasetError
from segmodels.formats._classes import from_json
from segmodels.formats._files import leaves, read_text, unique_ids
from segmodels.samples import SPLITS, Sample, SegmentationClass, Split

LISTS = tuple(f"{split}.txt" for split in SPLITS)


def detect(root: Path) -> str | None:
    lists = [name for name in LISTS if (root / name).is_file()]
    try:
        pairs = all(len(line.split()) == 2 for name in lists for line in read_text(root / name).splitlines()[:1])
    except DatasetError:
        return None
    return f"has {', '.join(lists)} with lines `image mask`" if lists and pairs and not (root / "images").is_dir() else None


def classes(root: Path) -> list[SegmentationClass] | None:
    return from_json(root / "classes.json") if (root / "classes.json").is_file() else None


def notes(root: Path) -> list[Path]:
    return [root / name for name in ("classes.json", *LISTS) if (root / name).is_file()]


def read(root: Path) -> Iterator[Sample]:
    """Every line of the lists, in their order.

    Raises:
        DatasetError: no list, a line without two paths, a path outside the dataset's folder, a name listed twice.
    """
    lists = [(split, root / f"{split}.txt") for split in SPLITS if (root / f"{split}.txt").is_file()]
    if not lists:
        raise DatasetError(f"{root}: has none of train.txt, val.txt, test.txt; the format `camvid` needs them")
    seen: dict[str, str] = {}
    listed, problems = list[tuple[Split, str, str]](), list[str]()
    for split, path in lists:
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            where, words = f"{path}:{number}", line.split()
            if not words:
                continue
            words = [_inside(root, word) for word in words]
            if len(words) != 2 or any(leaves(word) for word in words):
                problems.append(f"{where}: {line!r}; expected `image mask`, both inside {root}")
                continue
            name = str(PurePosixPath(words[0]))
            if name in seen:
                problems.append(f"{where}: {name} stands at {seen[name]} already; list it once")
                continue
            seen[name] = where
            listed.append((split, name, words[1]))
    ids = unique_ids({root / image: Path(image) for _, image, _ in listed})
    sequences = {image: Path(image).stem.split("_")[0] for _, image, _ in listed if "_" in Path(image).stem}
    several = len(set(sequences.values())) > 1
    for split, image, mask in listed:
        group = sequences.get(image) if several else None
        yield Sample(ids[root / image], root / image, MaskFile(root / mask), split=split, group=group)
    if problems:
        raise DatasetError(f"{root}: {len(problems)} wrong lines", problems)


def _inside(root: Path, word: str) -> str:
    """The path of a file in the dataset's folder, where a list still says in which folder of another machine that lay."""
    parts = PurePosixPath(word).parts
    if not leaves(word) or ".." in parts:
        return word
    tails = ("/".join(parts[start:]) for start in range(1, len(parts)))
    return next((tail for tail in tails if (root / tail).is_file()), word)
