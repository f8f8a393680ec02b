"""Whole or not at all: files and folders that appear under their name only when complete.

Written beside the target, flushed to disk, then renamed over it, which POSIX makes atomic on a local filesystem. A crash leaves a
`.NAME.partial-*` that nobody reads and the next write of the same target removes.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def file(path: Path) -> Iterator[Path]:
    """Yields a path to write to; on leaving without an error it becomes `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_partials(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.partial-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    partial = Path(name)
    partial.chmod(0o666 & ~_umask())  # mkstemp makes it private to the user
    try:
        yield partial
        _flush(partial)
        partial.replace(path)
        _flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder to fill; on leaving without an error it becomes `path`, in place of what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    restore(path)
    remove_partials(path)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.partial-", dir=path.parent))
    partial.chmod(0o777 & ~_umask())
    try:
        yield partial
        for child in partial.rglob("*"):
            if child.is_file():
                _flush(child)
        if path.exists():
            # a folder cannot be renamed over a full one: move the old one aside under a name nobody reads
            old = _aside(path)
            path.replace(old)
            partial.replace(path)
            shutil.rmtree(old)
        else:
            partial.replace(path)
        _flush(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    with file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Indented, keys in the order given, so that a diff of two versions reads well."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def restore(path: Path) -> None:
    """Put the old folder back when a replacement was killed between its two renames."""
    if _aside(path).exists() and not path.exists():
        _aside(path).replace(path)


def remove_partials(path: Path) -> None:
    """Remove what earlier, killed writes of `path` left behind."""
    for stale in path.parent.glob(f".{path.name}.partial-*"):
        if stale.is_dir():
            shutil.rmtree(stale, ignore_errors=True)
        else:
            stale.unlink(missing_ok=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial-old")


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
