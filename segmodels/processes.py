"""How processes end: with those they belong to, and not in the middle of what must be whole."""

import contextlib
import ctypes
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


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, however it ends (Linux only: PR_SET_PDEATHSIG).

    A stage must not outlive a killed `dvc`, nor a `dvc` a killed flow: the next one would run beside it. Elsewhere the lock on the
    checkpoints makes the next training wait.
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
