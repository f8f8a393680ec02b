"""Crops that show rare classes as often as common ones."""

import numpy as np

from segmodels.samples import IGNORE_INDEX, ImageArray, UInt8Array

WIDER = 2
"""A crop is this much wider and higher than what the network sees: the recipe goes on to crop and zoom in it."""


def balanced(
    image: ImageArray, mask: UInt8Array, size_px: tuple[int, int], rng: np.random.Generator
) -> tuple[ImageArray, UInt8Array]:
    """A part of image and mask around a random pixel of a class drawn evenly among those that the mask has.

    As views of H x W x channels and H x W; an image hardly larger than `size_px` (height, width) comes back whole.
    """
    present = np.setdiff1d(np.unique(mask), [IGNORE_INDEX])
    if len(present) == 0:
        return image, mask
    pixels = np.flatnonzero(mask == rng.choice(present))
    position = np.unravel_index(rng.choice(pixels), mask.shape)
    spans = []
    for at, length, wanted in zip(position, mask.shape, size_px, strict=True):
        size = min(WIDER * wanted, length)
        # anywhere that keeps the pixel inside
        low, high = max(0, int(at) - size + 1), min(int(at), length - size)
        start = int(rng.integers(low, high + 1))
        spans.append(slice(start, start + size))
    return image[spans[0], spans[1]], mask[spans[0], spans[1]]
