"""How much of an object is found, by its size: small ones are what a mean over pixels hides."""

import cv2
import numpy as np

from segmodels.samples import FloatArray, Int64Array, UInt8Array

SIZES_PX = {"small": 32**2, "medium": 96**2, "large": None}
"""By area, as COCO has them: below the first, below the second, and the rest."""


class Objects:
    """Counted over many images, by class."""

    def __init__(self, num_classes: int) -> None:
        self.count: Int64Array = np.zeros((num_classes, len(SIZES_PX)), np.int64)
        self.found: FloatArray = np.zeros((num_classes, len(SIZES_PX)))

    def add(self, prediction: UInt8Array, truth: UInt8Array, *, overlap: bool = False) -> None:
        """The connected pixels of each class are its objects. Labellings of one image, see labels.py."""
        for index in range(len(self.count)):
            true = truth[index] == 1 if overlap else truth == index
            if not true.any():
                continue
            right = (prediction[index] == 1 if overlap else prediction == index) & true
            number, labels, stats, _ = cv2.connectedComponentsWithStats(true.astype(np.uint8), connectivity=8)
            area = stats[1:, cv2.CC_STAT_AREA]
            found = np.bincount(labels[right], minlength=number)[1:] / area
            size = np.searchsorted([limit for limit in SIZES_PX.values() if limit is not None], area, side="right")
            self.count[index] += np.bincount(size, minlength=len(SIZES_PX))
            self.found[index] += np.bincount(size, weights=found, minlength=len(SIZES_PX))

    def to_dict(self, names: list[str]) -> list[dict[str, object]]:
        """As JSON has it: of every class and size that there are how many, and the mean share of an object that was found."""
        return [
            {
                "class": name,
                "size": size,
                "num_objects": int(self.count[index, position]),
                "recall": float(self.found[index, position] / self.count[index, position]),
            }
            for index, name in enumerate(names)
            for position, size in enumerate(SIZES_PX)
            if self.count[index, position]
        ]
