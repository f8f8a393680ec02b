"""Samples that show rare classes as often as common ones."""

from typing import NamedTuple

import numpy as np

from segmodels.samples import ImageArray, UInt8Array
from segmodels.store import Store

WIDER = 2
"""A crop is this much wider and higher than what the network sees: the recipe goes on to crop and zoom in it."""


class Choice(NamedTuple):
    """A training image, by its row, and the mask values that mean a class which it shows."""

    row: int
    values: list[int]


class Balance:
    """Draws a class, all that training images show alike, and then one of the images that show it, as the manifest's counts tell."""

    def __init__(self, store: Store) -> None:
        train, labels = np.array(store.rows("train")), store.labels
        self._rows, self._values = [], []
        for index in range(labels.num_classes):
            rows = train[store.manifest[f"pixels_{index}"].to_numpy()[train] > 0]
            if len(rows):
                self._rows.append(rows)
                self._values.append(
                    [value for value, classes in enumerate(labels.sets) if classes[index] == 1] if labels.overlap else [index]
                )

    @property
    def possible(self) -> bool:
        """Whether any training image shows a class."""
        return bool(self._rows)

    def draw(self, rng: np.random.Generator) -> Choice:
        number = int(rng.integers(len(self._rows)))
        return Choice(int(rng.choice(self._rows[number])), self._values[number])


def around(
    image: ImageArray, mask: UInt8Array, values: list[int], size_px: tuple[int, int], rng: np.random.Generator
) -> tuple[ImageArray, UInt8Array]:
    """A part of image and mask around a random pixel of a class, that is, with one of its values.

    As views of H x W x channels and H x W; an image hardly larger than `size_px` (height, width) comes back whole.
    """
    pixels = np.flatnonzero(np.isin(mask, values))
    position = np.unravel_index(rng.choice(pixels), mask.shape)
    spans = []
    for at, length, wanted in zip(position, mask.shape, size_px, strict=True):
        size = min(WIDER * wanted, length)
        # anywhere that keeps the pixel inside
        low, high = max(0, int(at) - size + 1), min(int(at), length - size)
        start = int(rng.integers(low, high + 1))
        spans.append(slice(start, start + size))
    return image[spans[0], spans[1]], mask[spans[0], spans[1]]
