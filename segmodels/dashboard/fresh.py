"""What is read from elsewhere, kept for everybody who looks: nobody waits for it but the first, and it is never old for long."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Fresh(Generic[T]):
    """A value by a name, read again in the background when it is older than so many seconds and somebody asks.

    Where that fails it is forgotten: who asks next reads it, and is told what is wrong.
    """

    def __init__(self, read: Callable[[str], T], seconds: float) -> None:
        self.read, self.seconds = read, seconds
        self._known: dict[str, tuple[float, T]] = {}
        self._reading = threading.Lock()

    def __call__(self, name: str) -> T:
        known = self._known.get(name)
        if known is None:
            with self._reading:
                known = self._known.get(name) or self._read(name)
        elif time.monotonic() - known[0] > self.seconds and self._reading.acquire(blocking=False):
            threading.Thread(target=self._read_again, args=[name], daemon=True).start()
        return known[1]

    def _read_again(self, name: str) -> None:
        try:
            self._read(name)
        except Exception:
            self._known.pop(name, None)
        finally:
            self._reading.release()

    def _read(self, name: str) -> tuple[float, T]:
        found = time.monotonic(), self.read(name)
        self._known[name] = found
        return found
