"""What DVC's killed processes held does not stop the next retraining; what a running one holds stays its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows import versioned
from tests.conftest import PARAMS, make_project


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where DVC notes who holds what, in a project that is the working directory."""
    project = make_project(tmp_path / "project", PARAMS)
    monkeypatch.chdir(project)
    path = project / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir()
    return path


@pytest.fixture
def zombie() -> Iterator[int]:
    """A process that has ended, and whose parent has not waited for it."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        yield process.pid


def note(path: Path, *, writer: int | None = None, reader: int | None = None) -> None:
    """As DVC does, which leaves a kind out when nobody holds anything so."""
    written = {} if writer is None else {"write": {"/project/reports/unet": {"pid": writer, "cmd": "repro"}}}
    read = {} if reader is None else {"read": {"/project/data/prepared": [{"pid": reader, "cmd": "repro"}]}}
    path.write_text(json.dumps(written | read))


def test_a_zombie_holds_nothing(notes: Path, zombie: int) -> None:
    note(notes, writer=zombie, reader=zombie)
    versioned.forget_ended()
    assert not notes.exists()


def test_a_process_that_began_later_did_not_take_it(notes: Path) -> None:
    note(notes, writer=os.getpid())
    before = psutil.Process().create_time() - 60
    os.utime(notes, (before, before))
    versioned.forget_ended()
    assert not notes.exists()


@pytest.mark.parametrize("kind", ["writer", "reader"])
def test_a_running_process_keeps_what_it_holds(notes: Path, zombie: int, kind: str) -> None:
    note(notes, **{"writer": zombie, "reader": zombie, kind: os.getpid()})
    before = notes.read_text()
    versioned.forget_ended()
    assert notes.read_text() == before


@pytest.mark.parametrize("left", ["", '{"write": {"/project/da'])
def test_notes_that_a_full_disk_cut_off_hold_nothing(notes: Path, left: str) -> None:
    notes.write_text(left)
    versioned.forget_ended()
    assert not notes.exists()


def test_nothing_noted_nothing_done(notes: Path) -> None:
    versioned.forget_ended()
    assert not notes.exists()
