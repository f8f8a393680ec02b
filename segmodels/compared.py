"""What was compared last is kept: while a retraining works on another dataset, people still look at the candidates of the one before."""

import os
import shutil
from pathlib import Path

from segmodels import atomic

_FOLDERS = ("prepared", "evaluated", "reports")


def keep(prepared: Path, evaluated: Path, reports: Path, destination: Path) -> None:
    """Keep the test images with their labels, what was counted and predicted of them, and the reports. Takes no room while these are there too.

    Nobody writes into a file that is there already, so that a second name for it is as good as a copy.
    """
    with atomic.folder(destination) as partial:
        for source, name in zip((prepared, evaluated, reports), _FOLDERS, strict=True):
            shutil.copytree(source, partial / name, copy_function=_linked, symlinks=False)


def folders(destination: Path) -> tuple[Path, Path, Path]:
    """Where the prepared dataset, what was evaluated, and the reports are."""
    prepared, evaluated, reports = (destination / name for name in _FOLDERS)
    return prepared, evaluated, reports


def _linked(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:  # another disk, or one that knows no links
        shutil.copy2(source, destination)
