"""Colours that people tell apart: of classes by their index, the same on every page, and of what is better or worse."""

from collections.abc import Sequence

import colorcet

from segmodels.samples import OKABE_ITO, Color

BETTER, WORSE, NEITHER = "#0072b2", "#d55e00", "#8a8a8a"
"""Blue and vermilion, which the colour-blind tell apart as well."""
SCORES = "cividis"
"""A scale from dark blue to yellow, the same to all eyes."""


def of_classes(count: int) -> list[Color]:
    """A colour for each class index: Okabe's and Ito's while they last, Glasbey's beyond, which are as far apart as so many can be."""
    if count <= len(OKABE_ITO):
        return list(OKABE_ITO[:count])
    return [_bytes(colorcet.glasbey_bw_minc_20[index % len(colorcet.glasbey_bw_minc_20)]) for index in range(count)]


def css(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _bytes(color: Sequence[float]) -> Color:
    red, green, blue = (round(255 * part) for part in color)
    return red, green, blue
