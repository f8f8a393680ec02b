"""Whole or not at all, also when the disk is full or the process is killed."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from segmodels import atomic


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    with atomic.file(target) as partial:
        partial.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert os.listdir(target.parent) == ["a.txt"]


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fill() -> None:
        with atomic.file(target) as partial:
            partial.write_text("ha")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fill()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_error_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with atomic.folder(target) as partial:
        (partial / "a").write_text("old")

    def fill() -> None:
        with atomic.folder(target) as partial:
            (partial / "a").write_text("ha")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fill()
    assert (target / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["folder"]


def test_a_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for name in ("a", "b"):
        with atomic.folder(target) as partial:
            (partial / name).write_text(name)
    assert os.listdir(target) == ["b"]
    assert os.listdir(tmp_path) == ["folder"]


KILLED = """
import os, signal
from pathlib import Path
from segmodels import atomic
calls = 0
def counted(real):
    def call(*args, **kwargs):
        global calls
        if calls == {at}:
            os.kill(os.getpid(), signal.SIGKILL)
        calls += 1
        return real(*args, **kwargs)
    return call
Path.replace = counted(Path.replace)
os.fsync = counted(os.fsync)
os.rmdir = counted(os.rmdir)
with atomic.folder(Path({target!r})) as partial:
    for name in ("a", "b"):
        (partial / name).write_text("new")
"""


@pytest.mark.parametrize("at", range(7))
def test_killed_at_any_step_the_folder_is_old_or_new(tmp_path: Path, at: int) -> None:
    target = tmp_path / "folder"
    with atomic.folder(target) as partial:
        for name in ("a", "b"):
            (partial / name).write_text("old")
    code = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED.format(at=at, target=str(target)))], check=False
    ).returncode
    assert code in (-signal.SIGKILL, 0)
    atomic.restore(target)
    assert {(target / name).read_text() for name in ("a", "b")} in ({"old"}, {"new"})
    with atomic.folder(target) as partial:  # the next write clears what the killed one left
        (partial / "a").write_text("newest")
    assert os.listdir(tmp_path) == ["folder"]
