"""What was compared last is kept: while a retraining works on another dataset, people still look at the candidates of the one before."""

import os
import shutil
from dataclasses import dataclass, fields
from pathlib import Path

from segmodels import atomic


@dataclass(frozen=True)
class Folders:
    """The prepared dataset, what was counted and predicted of its test images, the reports, and what the dataset holds for people."""

    prepared: Path
    evaluated: Path
    reports: Path
    facts: Path


def keep(now: Folders, destination: Path) -> None:
    """Keep them, as second names of the same files: that takes no room while the dataset stays, and its room once when it has changed.

    Nobody writes into a file that is there already, so that a second name for it is as good as a copy.
    """
    with atomic.folder(destination) as partial:
        for one in fields(Folders):
            shutil.copytree(getattr(now, one.name), partial / one.name, copy_function=_linked)


def kept(destination: Path) -> Folders:
    """Where they are."""
    return Folders(**{one.name: destination / one.name for one in fields(Folders)})


def _linked(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:  # another disk, or one that knows no links
        shutil.copy2(source, destination)
