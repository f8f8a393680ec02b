"""Waiting until nobody writes to a folder any more: what is half written is not to be taken for whole."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from segmodels.errors import DatasetError

QUIET_S = 1.0
"""A folder of which nothing was changed for so long is taken for finished: who copies changes something all the time."""
PATIENCE_S = 600.0


def wait(
    folder: Path,
    *,
    notice: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once nothing in a folder and below was changed for QUIET_S; at once if there is no such folder.

    Args:
        notice: told once that it waits, and for what.

    Raises:
        DatasetError: something was still being changed after PATIENCE_S.
    """
    waited = 0.0
    while folder.is_dir():
        changed, path = _last_change(folder)
        age = now() - changed
        if age >= QUIET_S or age < -QUIET_S:  # a clock that was set back tells nothing
            return
        if waited > PATIENCE_S:
            raise DatasetError(
                f"{path}: is still being written after {PATIENCE_S:.0f} s; wait until it is whole, and run the same again"
            )
        if waited == 0:
            notice(f"{path} was changed just now; waiting until nobody writes to {folder}")
        pause = QUIET_S - max(age, 0.0)
        sleep(pause)
        waited += pause


def _last_change(folder: Path) -> tuple[float, str]:
    """When something was last written, made, renamed or removed, in seconds since the epoch, and what."""
    latest = folder.lstat().st_ctime, str(folder)
    for where, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = f"{where}{os.sep}{name}"
            with contextlib.suppress(FileNotFoundError):  # removed since it was listed, which its folder shows
                # not the time of modification: copying may set that back
                latest = max(latest, (os.lstat(path).st_ctime, path))
    return latest
