"""Work in other processes: one that dies or hangs costs its own task alone."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest

from segmodels import workers
from segmodels.workers import Ended


def run(tasks: Sequence[str], seconds: float = 60) -> list[object]:
    return list(workers.each(do, tasks, processes=2, seconds=lambda _: seconds))


def do(task: str) -> str:
    if task == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task == "hang":
        time.sleep(600)
    if task == "slow":
        time.sleep(0.3)
    if task == "bomb":
        np.ones(psutil.virtual_memory().total, np.uint8)
    if task == "wrong":
        raise ValueError("not so")
    return task.upper()


def test_results_come_in_the_order_of_the_tasks() -> None:
    assert run(["slow", "a", "b", "c"]) == ["SLOW", "A", "B", "C"]
    assert run([]) == []


@pytest.mark.unhurried
def test_one_that_crashes_or_hangs_costs_its_own_task_alone() -> None:
    found = run(["a", "crash", "b", "hang", "c"], seconds=1)
    assert [found[0], found[2], found[4]] == ["A", "B", "C"]
    assert found[1] == Ended(f"ended the process that read it (exit code {-signal.SIGSEGV})")
    assert found[3] == Ended("was not read within 1 s")


def touch(path: Path) -> None:
    path.touch()


@pytest.mark.unhurried
def test_results_that_nobody_takes_do_not_pile_up(tmp_path: Path) -> None:
    results = workers.each(touch, [tmp_path / str(n) for n in range(50)], processes=2, seconds=lambda _: 60)
    next(results)
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) == 2 * workers.AHEAD
    assert len(list(results)) == 49 and len(list(tmp_path.iterdir())) == 50


def test_an_error_is_raised_here() -> None:
    with pytest.raises(ValueError, match="not so"):
        run(["a", "wrong"])


def test_one_that_asks_for_more_memory_than_there_is_gets_an_error() -> None:
    with pytest.raises(MemoryError):
        run(["a", "bomb"])
