"""A folder that somebody writes to is waited for."""

import os
from pathlib import Path

import pytest

from segmodels import quiet
from segmodels.errors import DatasetError
from segmodels.quiet import PATIENCE_S, QUIET_S


class Clock:
    """Stands `ahead` of the real one's last change of a file, and goes on only by sleeping."""

    def __init__(self, file: Path, *, ahead: float, writes: int = 0) -> None:
        self.file, self.time, self.writes, self.slept = file, file.stat().st_ctime + ahead, writes, 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.time += seconds
        if self.writes > 0:  # somebody writes on: the clock is back at the file's change
            self.writes -= 1
            self.file.write_text(str(self.writes))
            self.time = self.file.stat().st_ctime


def waited(folder: Path, clock: Clock) -> list[str]:
    told: list[str] = []
    quiet.wait(folder, notice=told.append, now=clock.now, sleep=clock.sleep)
    return told


def test_what_was_finished_long_ago_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    clock = Clock(tmp_path / "a", ahead=QUIET_S + 0.1)
    assert (waited(tmp_path, clock), clock.slept) == ([], 0)
    quiet.wait(tmp_path / "missing")


def test_it_waits_as_long_as_somebody_writes(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("x")
    clock = Clock(tmp_path / "sub" / "a", ahead=0.25, writes=3)
    [told] = waited(tmp_path, clock)
    assert told == f"{tmp_path / 'sub' / 'a'} was changed just now; waiting until nobody writes to {tmp_path}"
    # a quarter of a second had passed at first; then three times a whole one from a new change
    assert clock.slept == pytest.approx(4 * QUIET_S - 0.25)


def test_a_change_that_was_dated_back_is_one_too(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    os.utime(tmp_path / "a", (0, 0))
    clock = Clock(tmp_path / "a", ahead=0)
    assert waited(tmp_path, clock) and clock.slept == pytest.approx(QUIET_S)


def test_patience_ends(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    clock = Clock(tmp_path / "a", ahead=0, writes=10**6)
    with pytest.raises(DatasetError, match=f"a: is still being written after {PATIENCE_S:.0f} s; wait until it is whole"):
        waited(tmp_path, clock)
    assert clock.slept == pytest.approx(PATIENCE_S + QUIET_S)
