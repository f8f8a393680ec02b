"""Which classes are taken for which others, and the images that show it best."""

from dataclasses import dataclass

import numpy as np

from segmodels import metrics
from segmodels.samples import Int64Array, UInt8Array


@dataclass(frozen=True)
class Confusion:
    """One class that was taken for another. `share` is of the pixels that are `truth`; `row` the test image with most of them."""

    truth: int
    predicted: int
    num_pixels: int
    share: float
    row: int


class Confusions:
    """Counted over many images of classes that exclude each other. `total` is C x C: true class by predicted class."""

    def __init__(self, num_classes: int) -> None:
        self.total: Int64Array = np.zeros((num_classes, num_classes), np.int64)
        self._most: Int64Array = np.zeros((num_classes, num_classes), np.int64)
        self._row: Int64Array = np.full((num_classes, num_classes), -1)

    def add(self, row: int, prediction: UInt8Array, truth: UInt8Array) -> None:
        """Labellings of one image, H x W."""
        cells = metrics.confusion(prediction, truth, len(self.total))
        self.total += cells
        more = cells > self._most
        self._most[more], self._row[more] = cells[more], row

    def worst(self, count: int) -> list[Confusion]:
        """The pairs with the most pixels, most first."""
        off = self.total.copy()
        np.fill_diagonal(off, 0)
        order = np.argsort(-off, axis=None, kind="stable")[:count]
        pairs = [(int(flat // len(off)), int(flat % len(off))) for flat in order]
        return [
            Confusion(
                one, other, int(off[one, other]), float(off[one, other] / self.total[one].sum()), int(self._row[one, other])
            )
            for one, other in pairs
            if off[one, other]
        ]
