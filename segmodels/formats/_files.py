"""What formats share: files by name, texts and JSON, names of splits."""

import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from segmodels.errors import DatasetError
from segmodels.images import SUFFIXES
from segmodels.samples import Split

SPLIT_FOLDERS: dict[str, Split] = {
    **{"train": "train", "training": "train"},
    **{"val": "val", "valid": "val", "validation": "val"},
    **{"test": "test", "testing": "test"},
}
"""What people call the folders of splits."""


def by_stem(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """The pictures in a folder and below it, by their path in it without suffix; and what is wrong with names that several have."""
    found, links = dict[str, list[Path]](), list[str]()
    # by texts, not by paths: a large dataset is listed each time that it is brought in
    for inside in sorted(_inside(folder, links)):
        stem, suffix = os.path.splitext(inside)  # noqa: PTH122
        if suffix.lower() not in SUFFIXES:
            continue
        # an image and its mask may come from systems that write accents in other forms
        found.setdefault(unicodedata.normalize("NFC", stem.replace(os.sep, "/")), []).append(folder / inside)
    clashes = {name: f"{' and '.join(map(str, paths))}: same name; rename one" for name, paths in found.items() if len(paths) > 1}
    sound = {name: paths[0] for name, paths in found.items() if name not in clashes}
    return sound, clashes | {inside: f"{folder / inside}: is a link to a folder; put the folder there" for inside in links}


def _inside(folder: Path, links: list[str]) -> Iterator[str]:
    """The paths in a folder of all files below it that are not hidden; folders that are links are told instead."""
    start = len(str(folder)) + 1
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links += [f"{where}{os.sep}{name}"[start:] for name in folders if os.path.islink(f"{where}{os.sep}{name}")]  # noqa: PTH114
        yield from (f"{where}{os.sep}{name}"[start:] for name in names if not name.startswith("."))


def matching(folder: Path, pattern: str) -> list[Path]:
    """The files that a pattern fits; none that is hidden, no folder, no link to nothing, and no pipe, which could be read for ever."""
    return sorted(path for path in folder.glob(pattern) if path.is_file() and not is_hidden(path.relative_to(folder)))


def is_hidden(inside: Path) -> bool:
    """Such as `._x.png`, which macOS writes, and what lies in `.ipynb_checkpoints/`."""
    return any(part.startswith(".") for part in inside.parts)


def is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def leaves(path: str) -> bool:
    """Whether a path that a file names leads out of the folder that it is in."""
    parts = PurePosixPath(path.replace("\\", "/"))
    return parts.is_absolute() or ".." in parts.parts


class Pictures:
    """The pictures of a dataset, found by what its files call them: a path, the end of a path, or a bare name."""

    def __init__(self, root: Path, *, without: frozenset[str] = frozenset()) -> None:
        """`without`: names of folders whose pictures are not meant, such as masks."""
        self._root = root
        self._by_name: dict[str, list[Path]] = {}
        for path in sorted(root.rglob("*")):
            inside = path.relative_to(root)
            if is_picture(path) and not is_hidden(inside) and not without.intersection(inside.parts[:-1]):
                self._by_name.setdefault(unicodedata.normalize("NFC", path.name), []).append(path)

    def find(self, called: str, *, beside: Path) -> Path | str:
        """The one that is called so, or what is wrong; of several the nearest to the file that names it, `beside`."""
        if leaves(called):
            return f"{called!r} leads out of the dataset's folder"
        parts = PurePosixPath(unicodedata.normalize("NFC", called.replace("\\", "/"))).parts
        named = self._by_name.get(parts[-1] if parts else "", [])
        fitting = [
            path for path in named if tuple(unicodedata.normalize("NFC", one) for one in path.parts[-len(parts) :]) == parts
        ]
        if not fitting and len(named) == 1 and not self._of_another_split(named[0], parts):
            fitting = named  # datasets moved by hand still say where their pictures once lay
        if not fitting:
            return f"there is no picture {called!r}" + (f", but {named[0]} has its name" if named else "")
        distances = [len(set(path.parents) ^ set((beside / "x").parents)) for path in fitting]
        nearest = [path for path, far in zip(fitting, distances, strict=True) if far == min(distances)]
        if len(nearest) > 1:
            return f"{called!r} may be {nearest[0]} or {nearest[1]}; rename one"
        return nearest[0]

    def _of_another_split(self, path: Path, called: tuple[str, ...]) -> bool:
        """Whether the folders of a picture and those that it is called by are named after different splits."""
        here, there = (
            {split_of(folder) for folder in parts[:-1]} - {None} for parts in (path.relative_to(self._root).parts, called)
        )
        return bool(here and there) and here.isdisjoint(there)


def read_text(path: Path) -> str:
    """A text in UTF-8, with or without a byte-order mark.

    Raises:
        DatasetError: it is none, or may not be read.
    """
    if not path.is_file():  # what is none, such as a pipe, could be read for ever
        raise DatasetError(f"{path}: is no file; remove it or put the file there")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: is not text in UTF-8 ({error}); save it as that") from error
    except PermissionError as error:
        raise DatasetError(f"{path}: may not be read by this user; change its owner or its mode") from error


def read_json(path: Path) -> Any:
    """What a JSON file holds; kept while the file stays as it is, as detecting, naming the classes and reading all ask for it.

    Raises:
        DatasetError: it is no JSON.
    """
    stat = path.stat()
    return _parsed(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _parsed(path: Path, _mtime_ns: int, _size: int) -> Any:
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError too
        raise DatasetError(f"{path}: is not JSON ({error}); export it again") from error


def split_of(words: str) -> Split | None:
    """The split that a file or folder is named after: `train2017`, `instances_val`, `valid`, `testing`; None for any other."""
    known: dict[str, Split] = {"train": "train", "valid": "val", "val": "val", "test": "test"}
    found = {
        split for part in words.lower().replace("-", "_").split("_") for word, split in known.items() if part.startswith(word)
    }
    return found.pop() if len(found) == 1 else None


def unique_ids(paths: dict[Path, Path]) -> dict[Path, str]:
    """An id for every picture: its name without suffix, with the folders before it where another has that name.

    Args:
        paths: each picture's path, and that in the dataset's folder.
    """
    times = Counter(path.stem for path in paths.values())
    return {path: inside.stem if times[inside.stem] == 1 else inside.with_suffix("").as_posix() for path, inside in paths.items()}
