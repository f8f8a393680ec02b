"""How well the borders of a labelling lie on the edges of its image: what tells a mask of another image, or one that was shifted.

An image is stronger in contrast where one thing ends and another begins. Over the borders as they are labelled, its edges are compared
with what the same borders find when they are moved away: labels that fit stand out by many standard deviations, others do not.
"""

import math
from functools import reduce

import cv2
import numpy as np
from numpy.typing import NDArray

from segmodels.samples import IGNORE_INDEX, UInt8Array

SIDE_PX = 256
"""The longer side at which both are looked at."""
NEAR_PX = 2
"""Borders may be off by so much."""
FAR_PX = (10, 40)
"""How far away they are moved."""
AROUND_PX = 41
"""A pixel's neighbourhood, whose edges it is compared with."""
FEW, MANY = 8, 1000
"""Pixels of borders that tell nothing, and that tell enough."""

_NEAR = np.array([(y, x) for y in range(-NEAR_PX, NEAR_PX + 1) for x in range(-NEAR_PX, NEAR_PX + 1)])
# evenly over a ring: turned by the golden angle from one to the next
_FAR = np.array(
    [
        (round(radius * math.sin(number * 2.39996)), round(radius * math.cos(number * 2.39996)))
        for number, radius in enumerate(np.sqrt(np.linspace(FAR_PX[0] ** 2, FAR_PX[1] ** 2, 64)))
    ]
)


def fit(image_HWC: UInt8Array, labelling: UInt8Array) -> float | None:
    """By how many standard deviations the edges under the borders are stronger than under the same borders elsewhere.

    Args:
        labelling: H x W or, where classes overlap, C x H x W (see labels.py).

    Returns:
        None where there are no borders, or no edges.
    """
    height, width = image_HWC.shape[:2]
    scale = SIDE_PX / max(height, width)
    size = max(8, round(width * scale)), max(8, round(height * scale))
    edges = _edges(cv2.resize(image_HWC, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False))
    planes = labelling[None] if labelling.ndim == 2 else labelling
    borders = np.zeros(edges.shape, bool)
    for plane in planes:
        borders |= _borders(cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST))
    places = np.argwhere(borders)
    if len(places) < FEW:
        return None
    places = places[np.linspace(0, len(places) - 1, min(len(places), MANY)).round().astype(int)]
    far = _under(edges, places, _FAR)
    if far.std() == 0:
        return None
    return float((_under(edges, places, _NEAR).max() - far.mean()) / far.std())


def _edges(image_HWC: UInt8Array) -> NDArray[np.float32]:
    """The strongest channel's gradient, in relation to its neighbourhood's, and no more than four times that."""
    smooth = cv2.GaussianBlur(image_HWC, (0, 0), 1.0)
    gradients = cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    strongest = reduce(cv2.max, cv2.split(gradients))
    around = cv2.blur(strongest, (AROUND_PX, AROUND_PX))
    relative: NDArray[np.float32] = np.minimum(strongest / (around + 1), 4)
    return relative


def _borders(plane_HW: UInt8Array) -> NDArray[np.bool_]:
    """Pixels beside one of another class; where one of the two is void, nobody said where the border is."""
    found = np.zeros(plane_HW.shape, bool)
    known = plane_HW != IGNORE_INDEX
    for one, other in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        differ = (plane_HW[one] != plane_HW[other]) & known[one] & known[other]
        found[one] |= differ
        found[other] |= differ
    return found


def _under(edges: NDArray[np.float32], places_N2: NDArray[np.int64], moves_M2: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean edge under the borders for each way of moving them, where what leaves the image comes in on the other side."""
    height, width = edges.shape
    rows = (places_N2[:, 0] + moves_M2[:, 0, None]) % height
    columns = (places_N2[:, 1] + moves_M2[:, 1, None]) % width
    mean: NDArray[np.float64] = edges.reshape(-1)[rows * width + columns].mean(axis=1, dtype=np.float64)
    return mean
