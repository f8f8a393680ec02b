"""What measurements share: where they work, the machine they name, and the memory that a process takes together with all below it."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import psutil
import torch

from segmodels import device

SAMPLED_S = 0.1


@contextmanager
def folder(given: Path | None) -> Iterator[Path]:
    """Where to work: what was given, which is kept, or a folder that is removed afterwards."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def machine() -> str:
    return device.describe(torch.device("cpu"))


class Memory:
    """Meanwhile, the most that this process and all below it had to themselves together (USS), sampled every tenth of a second.

    Attributes:
        most_mb, before_mb: the most, and what they had when it began.
    """

    def __enter__(self) -> Self:
        self.before_mb = self.most_mb = self._now_mb()
        self._over = threading.Event()
        self._sampling = threading.Thread(target=self._sample)
        self._sampling.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._sampling.join()

    def _sample(self) -> None:
        while not self._over.wait(SAMPLED_S):
            self.most_mb = max(self.most_mb, self._now_mb())

    def _now_mb(self) -> float:
        this, total = psutil.Process(), 0
        for one in (this, *this.children(recursive=True)):
            with suppress(psutil.Error):  # it has just ended
                total += one.memory_full_info().uss
        return total / 2**20
