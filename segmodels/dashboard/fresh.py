"""What is read from elsewhere, kept for everybody who looks: while somebody does, nobody waits for it."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
STALE = 10
"""A value that is so many times as old as it should be is shown to nobody."""


class Fresh(Generic[T]):
    """A value by a name, read again in the background when it is older than so many seconds and somebody asks; who asks after a while waits for it.

    Where that fails it is forgotten: who asks next reads it, and is told what is wrong.
    """

    def __init__(self, read: Callable[[str], T], seconds: float) -> None:
        self.read, self.seconds = read, seconds
        self._known: dict[str, tuple[float, T]] = {}
        self._reading = threading.Lock()

    def __call__(self, name: str) -> T:
        known = self._known.get(name)
        if known is None or time.monotonic() - known[0] > STALE * self.seconds:
            with self._reading:
                another = self._known.get(name)
                known = another if another is not None and another is not known else self._read(name)
        elif time.monotonic() - known[0] > self.seconds and self._reading.acquire(blocking=False):
            threading.Thread(target=self._read_again, args=[name], daemon=True).start()
        return known[1]

    def _read_again(self, name: str) -> None:
        try:
            self._read(name)
        except Exception:  # there is nobody here to be told: who asks next reads it, and is
            self._known.pop(name, None)
        finally:
            self._reading.release()

    def _read(self, name: str) -> tuple[float, T]:
        found = time.monotonic(), self.read(name)
        self._known[name] = found
        return found
