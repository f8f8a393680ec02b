"""An annotation that ends the process which reads it, as a decoder with a fault would. A module of its own: workers import it."""

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segmodels.samples import Annotation, SegmentationClass, UInt8Array


@dataclass(frozen=True)
class Deadly:
    """Says what `inner` says, but for its pixels."""

    inner: Annotation

    @property
    def files(self) -> Sequence[Path]:
        return self.inner.files

    @property
    def layers(self) -> None:
        return None

    def key(self, digest: Callable[[Path], str]) -> str:
        return "deadly"

    def labelling(self, size_HW: tuple[int, int], classes: Sequence[SegmentationClass]) -> UInt8Array:
        os.kill(os.getpid(), signal.SIGSEGV)
        return np.zeros(size_HW, np.uint8)

    def instances(self, size_HW: tuple[int, int]) -> None:
        return None
