"""Fits an image of any size into the size a network works at, without distorting it."""

import cv2
import numpy as np

from segmodels.samples import IGNORE_INDEX, UInt8Array


def fitted_size(height: int, width: int, size_px: tuple[int, int]) -> tuple[int, int]:
    """The largest (height, width) of the image's own proportions that fits into `size_px`."""
    scale = min(size_px[0] / height, size_px[1] / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def fit_image(image_HWC: UInt8Array, size_px: tuple[int, int]) -> UInt8Array:
    """The image scaled to `fitted_size`: averaged when it shrinks (no moire), interpolated when it grows."""
    height, width = fitted_size(image_HWC.shape[0], image_HWC.shape[1], size_px)
    if (height, width) == image_HWC.shape[:2]:
        return image_HWC
    interpolation = cv2.INTER_AREA if height < image_HWC.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image_HWC, (width, height), interpolation=interpolation), np.uint8)


def fit_and_pad(image_HWC: UInt8Array, mask_HW: UInt8Array, size_px: tuple[int, int]) -> tuple[UInt8Array, UInt8Array]:
    """Image and mask of exactly `size_px`, fitted and filled up at the right and below with black and void."""
    image = fit_image(image_HWC, size_px)
    height, width = image.shape[:2]
    mask = cv2.resize(mask_HW, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    padding = (0, size_px[0] - height), (0, size_px[1] - width)
    return np.pad(image, (*padding, (0, 0))), np.pad(mask, padding, constant_values=IGNORE_INDEX)
