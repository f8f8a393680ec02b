"""Ctrl-C waits for what must be whole, once."""

import os
import signal
from collections.abc import Iterator

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
