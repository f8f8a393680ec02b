"""Ctrl-C ends a retraining at once, and everything that it started."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

import psutil

from segmodels import console

GRACE_S = 4.0
"""What stages have to end by themselves, and then again when they are told to."""


@contextlib.contextmanager
def ends_at_once(note: Callable[[], None]) -> Iterator[None]:
    """In the block, SIGINT ends the children, calls `note` and ends this process with 130, as shells have it.

    Prefect would go on for minutes: it tells its temporary server, which the same Ctrl-C has ended, and it tries the stages again.
    """
    if threading.current_thread() is not threading.main_thread():  # where Python handles no signals
        yield
        return

    def end(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        children = psutil.Process().children(recursive=True)
        left = psutil.wait_procs(children, GRACE_S)[1]  # a terminal's Ctrl-C has reached them too
        for child in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.terminate()
        for child in psutil.wait_procs(left, GRACE_S)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        try:
            note()
        finally:
            console.say("interrupted; run the same again to go on")
            sys.stdout.flush()
            os._exit(130)

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
