"""How long a prediction takes, of one image after the other, and how much memory."""

import time
from collections.abc import Iterable, Sequence

import numpy as np

from segmodels import device
from segmodels.predict import Predictor
from segmodels.samples import ImageArray

WARM_UP, MEASURED = 2, 30
"""Images that are predicted before, and at most while, time is taken."""


def chosen(rows: Sequence[int]) -> list[int]:
    """The images to measure with, from all over the test set, which is in order of its scenes; of very few some twice."""
    count = WARM_UP + min(MEASURED, max(5, len(rows)))
    return [rows[round(position)] for position in np.linspace(0, len(rows) - 1, count)]


def measure(predictor: Predictor, images: Iterable[ImageArray]) -> dict[str, float]:
    """Milliseconds of an image, from the array to its mask: the median and the 95th percentile; and the most memory held, in MB.

    Of a GPU its own memory, else that of the whole program.

    Args:
        images: of `chosen`; loaded one after the other.
    """
    taken = []
    for number, image in enumerate(images):
        if number == WARM_UP:
            device.forget_peak(predictor.backend.device)
        start = time.perf_counter()
        predictor(image)
        taken.append(1000 * (time.perf_counter() - start))
    median, late = np.quantile(taken[WARM_UP:], [0.5, 0.95])
    return {
        "latency_ms": float(median),
        "latency_p95_ms": float(late),
        "peak_memory_mb": device.peak_bytes(predictor.backend.device) / 2**20,
    }
