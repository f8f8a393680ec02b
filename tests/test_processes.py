"""Ctrl-C waits for what must be whole, once; and a process ends soon."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from segmodels.processes import uninterrupted


@pytest.fixture(autouse=True)
def ctrl_c_interrupts() -> Iterator[None]:
    """As Python has it where nobody told it to ignore Ctrl-C, which shells tell what runs in their background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press_ctrl_c(times: int, done: list[str]) -> None:
    with uninterrupted():
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
        done.append("the rest of the block")


def test_ctrl_c_comes_after_the_block() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        press_ctrl_c(1, done)
    assert done == ["the rest of the block"]
    with pytest.raises(KeyboardInterrupt):  # from then on it works as before
        os.kill(os.getpid(), signal.SIGINT)


def test_a_second_ctrl_c_does_not_wait() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        press_ctrl_c(2, done)
    assert done == []


def test_without_ctrl_c_nothing_happens() -> None:
    done: list[str] = []
    usual = signal.getsignal(signal.SIGINT)
    press_ctrl_c(0, done)
    assert done == ["the rest of the block"]
    assert signal.getsignal(signal.SIGINT) is usual


PROGRAM = """
import atexit, threading, time
from segmodels.processes import ending_soon
with ending_soon():
    with ending_soon():
        atexit.register(print, "at the end")
        threading.Thread(target=lambda: (time.sleep(0.2), print("a thread"))).start()
        {}
"""


@pytest.mark.parametrize(
    ("last", "code", "told"),
    [
        ("pass", 0, ""),
        ("raise SystemExit", 0, ""),
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit('what is wrong')", 1, "what is wrong\n"),
        ("raise ValueError('a fault')", 1, "ValueError: a fault\n"),
    ],
)
def test_a_process_that_ends_soon_ends_as_any_other(last: str, code: int, told: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(last)], capture_output=True, text=True, check=False)
    assert done.returncode == code and done.stderr.endswith(told)
    assert done.stdout == "a thread\nat the end\n"


def test_what_cannot_be_written_at_the_end_is_told() -> None:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    for with_it in ("", "from segmodels.processes import ending_soon\nwith ending_soon(): pass"):
        command = [sys.executable, "-c", f"print('lost')\n{with_it}"]
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=buffered, check=False)
        assert done.returncode == 120


def test_a_process_that_ends_soon_takes_nothing_apart() -> None:
    program = "from segmodels.processes import ending_soon\nclass Large:\n    def __del__(self): print('taken apart')\nlarge = Large()\n"
    for with_it in ("", "with ending_soon(): pass"):
        done = subprocess.run([sys.executable, "-c", program + with_it], capture_output=True, text=True, check=True)
        assert done.stdout == ("" if with_it else "taken apart\n")
