"""How processes end: with those they belong to, not in the middle of what must be whole, and soon."""

import atexit
import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Has a Ctrl-C wait for the end of the block; a second one does not wait. For what an interruption would leave half done."""
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield
        return
    waiting: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if waiting:
            usual(number, frame)
        waiting.append(number)
        print("finishing what must be whole; press Ctrl-C again to stop at once", file=sys.stderr, flush=True)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if waiting:
            usual(signal.SIGINT, None)


_exit_code: int | None = None
"""What a process ends with that ends soon; None: nobody asked for that."""


@contextlib.contextmanager
def ending_soon() -> Iterator[None]:
    """For all that a program does: when the block ends, so does the process, with its exit code and without taking apart what was imported.

    That takes two seconds where it is torch. Threads are waited for, and what was registered for the end before it is done is done;
    what is registered before the block is not. A block within another adds nothing.
    """
    global _exit_code
    if _exit_code is not None:
        yield
        return
    _exit_code = 0
    atexit.register(_end)  # the first that is registered is the last that runs
    try:
        yield
    except SystemExit as wanted:
        _exit_code = wanted.code if isinstance(wanted.code, int) else int(wanted.code is not None)
        raise
    except BaseException:
        _exit_code = 1
        raise


def _end() -> None:
    code = _exit_code or 0
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # nobody reads any more, the disk is full, or it is closed
            code = code or 120  # as Python ends then
    os._exit(code)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, however it ends (Linux only: PR_SET_PDEATHSIG).

    A stage must not outlive a killed `dvc`, nor a `dvc` a killed flow: the next one would run beside it. Elsewhere the lock on the
    checkpoints makes the next training wait.
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
