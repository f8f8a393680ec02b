"""Whether a model that is 80 % sure is right in 80 % of cases.

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv:1706.04599): pixels by how sure the model is, in bins of equal
width; the expected calibration error is the mean distance between how sure it is and how often it is right, over all pixels.
"""

import numpy as np

from segmodels.samples import BoolArray, Float32Array, FloatArray, Int64Array

NUM_BINS = 15


class Calibration:
    """Counted over many pixels."""

    def __init__(self) -> None:
        self.num_pixels: Int64Array = np.zeros(NUM_BINS, np.int64)
        self.num_right: Int64Array = np.zeros(NUM_BINS, np.int64)
        self.sure: FloatArray = np.zeros(NUM_BINS)

    def add(self, confidence: Float32Array, right: BoolArray) -> None:
        """Pixels with how sure the model is of what it says, from 0 to 1, and whether it is right; of equal shape."""
        bins = np.minimum((confidence.reshape(-1) * NUM_BINS).astype(np.int64), NUM_BINS - 1)
        self.num_pixels += np.bincount(bins, minlength=NUM_BINS)
        self.num_right += np.bincount(bins[right.reshape(-1)], minlength=NUM_BINS)
        self.sure += np.bincount(bins, weights=confidence.reshape(-1).astype(np.float64), minlength=NUM_BINS)

    @property
    def error(self) -> float | None:
        """The expected calibration error; None if there are no pixels."""
        total = int(self.num_pixels.sum())
        return float(np.abs(self.sure - self.num_right).sum() / total) if total else None

    def to_dict(self) -> dict[str, object]:
        """As JSON has it; `sure` and `right` are means of the pixels of each bin, None where it has none."""
        bins = zip(self.num_pixels.tolist(), self.sure.tolist(), self.num_right.tolist(), strict=True)
        return {
            "error": self.error,
            "bins": [
                {"num_pixels": count, "sure": sure / count if count else None, "right": right / count if count else None}
                for count, sure, right in bins
            ],
        }
