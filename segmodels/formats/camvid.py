"""`train.txt`, `val.txt` and `test.txt`, each line `image mask` with paths relative to the list's folder, as SegNet's CamVid has it.

The lists give the splits. The sequence is the name up to its first underscore (`0016E5_07959` -> `0016E5`).
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from segmodels.errors import DatasetError
from segmodels.formats._classes import from_json
from segmodels.samples import SPLITS, Sample, SegmentationClass


def detect(root: Path) -> bool:
    return any((root / f"{split}.txt").is_file() for split in SPLITS) and not (root / "images").is_dir()


def classes(root: Path) -> list[SegmentationClass] | None:
    return from_json(root / "classes.json") if (root / "classes.json").is_file() else None


def read(root: Path) -> Iterator[Sample]:
    """Every line of the lists, in their order.

    Raises:
        DatasetError: no list, a line without two paths, a path outside the dataset's folder, a name listed twice.
    """
    lists = [(split, root / f"{split}.txt") for split in SPLITS if (root / f"{split}.txt").is_file()]
    if not lists:
        raise DatasetError(f"{root}: has none of train.txt, val.txt, test.txt; the format `camvid` needs them")
    seen: dict[str, str] = {}
    samples, problems = [], []
    for split, path in lists:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise DatasetError(f"{path}: is not text in UTF-8 ({error}); save it as that") from error
        for number, line in enumerate(lines, start=1):
            where, words = f"{path}:{number}", line.split()
            if not words:
                continue
            if len(words) != 2 or any(_leaves(word) for word in words):
                problems.append(f"{where}: {line!r}; expected `image mask`, both inside {root}")
                continue
            name = PurePosixPath(words[0]).stem
            if name in seen:
                problems.append(f"{where}: {name} stands at {seen[name]} already; list it once")
            seen[name] = where
            samples.append(Sample(name, root / words[0], root / words[1], split=split, group=name.split("_")[0]))
    if problems:
        raise DatasetError(f"{root}: {len(problems)} wrong lines", problems)
    yield from samples


def _leaves(path: str) -> bool:
    parts = PurePosixPath(path)
    return parts.is_absolute() or ".." in parts.parts
