"""What need not be found out twice: the hashes of files that were not touched since, and what was counted in pairs that were sound.

An SQLite file in the project's work folder. Nothing is lost with it but time: one that is damaged is begun anew.
"""

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from segmodels import digests
from segmodels.dataset import Dataset
from segmodels.pairs import Facts
from segmodels.workers import cores

T = TypeVar("T")

SETTLED_NS = 2 * 10**9
"""A file that was written less than so long ago may be written again without its time showing it."""

DECODING = ("alignment", "annotations", "duplicates", "images", "label_sets", "pairs", "samples", "shards")
DECODERS = ("imagehash", "numpy", "opencv-python-headless", "pillow", "pycocotools", "tifffile")
"""Modules and libraries that decide what is read from a file."""

BATCH = 1000

FILES = "SELECT path, size, mtime_ns, inode, sha256 FROM files WHERE path IN (SELECT value FROM json_each(?))"
PAIRS = "SELECT key, facts FROM pairs WHERE key IN (SELECT value FROM json_each(?))"

Stamp = tuple[int, int, int]
"""Size, time of change in ns, and inode."""


class Ledger:
    """Opened at `path`, or kept in memory."""

    def __init__(self, path: Path | None = None, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.now_ns = now_ns
        self._database = _opened(path)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def digests(self, paths: Iterable[Path]) -> dict[Path, str]:
        """The sha256 of every file that there is; none of those that cannot be read."""
        found: dict[Path, str] = {}
        fresh: dict[Path, Stamp] = {}
        for some in _batches(list(dict.fromkeys(paths)), BATCH):
            noted = self._noted(FILES, map(str, some))
            for path in some:
                stamp = _stamp(path)
                if stamp is None:
                    continue
                *then, digest = noted.get(str(path), (None, None))
                if tuple(then) == stamp:
                    found[path] = digest
                else:
                    fresh[path] = stamp
        settled = self.now_ns() - SETTLED_NS
        with ThreadPoolExecutor(cores()) as threads:  # hashing lets go of the interpreter
            for some in _batches(list(fresh), BATCH):  # a task for each of very many files would take more memory than all else
                found |= {path: one for path, one in zip(some, threads.map(_readable_digest, some), strict=True) if one}
        self._note(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
            ((str(path), *stamp, found[path]) for path, stamp in fresh.items() if path in found and stamp[1] < settled),
        )
        return found

    def keys(self, dataset: Dataset, hashes: Mapping[Path, str]) -> dict[str, str]:
        """Of every sample, by id, a name for all that decides what is decoded: equal keys, equal pixels.

        Args:
            hashes: the digests of its files; a sample of which one is missing has no key.
        """
        meaning = digests.of_texts(dataset.task, repr(dataset.classes), str(dataset.kind), _decoding())
        found = {}
        for sample in dataset.samples:
            with contextlib.suppress(KeyError):
                found[sample.id] = digests.of_texts(meaning, sample.key(hashes.__getitem__))
        return found

    def facts(self, keys: Iterable[str]) -> dict[str, Facts]:
        """What was counted in the pairs of these keys, of those that are known to be sound."""
        found: dict[str, Facts] = {}
        for some in _batches(list(keys), BATCH):
            noted = self._noted(PAIRS, some)
            found |= {key: Facts(**json.loads(facts)) for key, (facts,) in noted.items()}
        return found

    def note(self, facts: Mapping[str, Facts]) -> None:
        """Keep what was counted in sound pairs, by key."""
        self._note("INSERT OR REPLACE INTO pairs VALUES (?, ?)", ((key, json.dumps(one.to_dict())) for key, one in facts.items()))

    def _noted(self, statement: str, keys: Iterable[str]) -> dict[str, tuple[Any, ...]]:
        """The rows of those keys that there are, by their first column: one question for many is much quicker than one for each."""
        rows = self._database.execute(statement, (json.dumps(list(keys)),))
        return {key: tuple(rest) for key, *rest in rows}

    def _note(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        with contextlib.suppress(sqlite3.OperationalError), self._database:  # a full disk costs time later, no more
            self._database.executemany(statement, rows)


def _opened(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in ("as it is", "begun anew"):
        database = sqlite3.connect(":memory:" if path is None else path, timeout=60)
        try:
            with database:
                database.execute(
                    "CREATE TABLE IF NOT EXISTS files "
                    "(path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, sha256 TEXT) WITHOUT ROWID"
                )
                database.execute("CREATE TABLE IF NOT EXISTS pairs (key TEXT PRIMARY KEY, facts TEXT) WITHOUT ROWID")
            if database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",):
                return database
        except sqlite3.OperationalError:  # the disk, or a lock
            database.close()
            raise
        except sqlite3.DatabaseError:
            pass
        database.close()
        assert path is not None and attempt == "as it is", "a new database is damaged"
        path.unlink()
    raise AssertionError


def _batches(every: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (every[start : start + size] for start in range(0, len(every), size))


def _stamp(path: Path) -> Stamp | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _readable_digest(path: Path) -> str | None:
    try:
        return digests.of_file(path)
    except OSError:
        return None


@cache
def _decoding() -> str:
    """Of the code that decodes: what another version counted is not known."""
    sources = [Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8") for name in DECODING]
    return digests.of_texts(*sources, *map(metadata.version, DECODERS))
