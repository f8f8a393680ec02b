"""Which classes are taken for which others, and the images that show it best."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from segmodels import metrics
from segmodels.samples import Int64Array, UInt8Array

CELLS = "confusions.parquet"
"""The table that `evaluate` writes: how many pixels of each image are of one class and were taken for another."""


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
        self._cells: list[Int64Array] = []

    def add(self, row: int, prediction: UInt8Array, truth: UInt8Array) -> None:
        """Labellings of one image, H x W; `row` is its row in the manifest."""
        cells = metrics.confusion(prediction, truth, len(self.total))
        self.total += cells
        off = cells - np.diag(np.diag(cells))
        true, predicted = np.nonzero(off)
        self._cells.append(np.stack([np.full(len(true), row), true, predicted, off[true, predicted]], axis=1))

    def table(self) -> pd.DataFrame:
        """A row for each image and pair of classes of which it has such pixels: `row`, `truth`, `predicted`, `num_pixels`."""
        return pd.DataFrame(
            np.concatenate([np.zeros((0, 4), np.int64), *self._cells]), columns=["row", "truth", "predicted", "num_pixels"]
        )

    def worst(self, count: int) -> list[Confusion]:
        """The pairs with the most pixels, most first."""
        most = self.table().sort_values(["num_pixels", "row"], ascending=[False, True]).drop_duplicates(["truth", "predicted"])
        found = [
            Confusion(one, other, int(self.total[one, other]), float(self.total[one, other] / self.total[one].sum()), row)
            for row, one, other in most[["row", "truth", "predicted"]].to_numpy().tolist()
        ]
        return sorted(found, key=lambda one: (-one.num_pixels, one.truth, one.predicted))[:count]
