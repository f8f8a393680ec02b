"""Images that are the same, or all but: by their pixels' hash and by a perceptual hash (imagehash's phash, 64 bit)."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segmodels.samples import Int64Array, UInt8Array, image_digest

NEAR = 6
"""Bits in which the hashes of two pictures of the same thing may differ: saved again, resized, made a little brighter. Frames of different
drives of CamVid differ in 10 and more of 64, those of one drive a second apart in 11 and more."""
FLAT = 4.0
"""A picture whose gray values deviate by less, of 255, shows nothing that could be compared."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What an image is recognised by. `look` is None for one that shows nothing."""

    pixels: str
    look: int | None

    @classmethod
    def of(cls, image_HWC: UInt8Array) -> "Fingerprint":
        """Of an H x W x 3 image."""
        return cls(image_digest(image_HWC), look(image_HWC))

    @classmethod
    def of_hashes(cls, pixels: str, look: str) -> "Fingerprint":
        """From the two as they are written down: hexadecimal, the second empty if there is none."""
        return cls(pixels, int(look, 16) if look else None)


def look(image_HWC: UInt8Array) -> int | None:
    """The perceptual hash of an H x W x 3 image; None for one that shows nothing."""
    gray = Image.fromarray(image_HWC).convert("L")
    return None if float(np.asarray(gray).std()) < FLAT else int(str(imagehash.phash(gray)), 16)


def links(fingerprints: Sequence[Fingerprint], *, looks: bool) -> list[tuple[int, int]]:
    """Positions of two images that are alike, so that all that are alike hang together: fewer than there are images.

    Args:
        looks: whether those that look the same are alike, or only those whose pixels are the same.
    """
    first_of: dict[str, int] = {}
    found = []
    for position, one in enumerate(fingerprints):
        first = first_of.setdefault(one.pixels, position)
        if first != position:
            found.append((first, position))
    if looks:
        seen = [position for position in first_of.values() if fingerprints[position].look is not None]
        found += [(seen[one], seen[other]) for one, other in _tree(_looks(fingerprints, seen))]
    return found


def counterparts(
    fingerprints: Sequence[Fingerprint], sides: Sequence[int], groups: Sequence[int]
) -> Iterator[tuple[int, int, bool]]:
    """For every image and every lower side: the first one there that is the same, else that which looks most like it, if any.

    Of an image that a thousand others look like no more is told than one for a side, so there is never more to tell than there are
    images and sides.

    Args:
        sides: of each image, from 0.
        groups: of each image; those of one group are no counterparts.

    Yields the position of the counterpart, that of the image, and whether their pixels are the same.
    """
    same: dict[tuple[str, int], dict[int, int]] = {}
    for position, one in enumerate(fingerprints):
        same.setdefault((one.pixels, sides[position]), {}).setdefault(groups[position], position)
    seen = [position for position, one in enumerate(fingerprints) if one.look is not None]
    nearest = _nearest(_looks(fingerprints, seen), np.array(sides, np.int64)[seen], np.array(groups, np.int64)[seen])
    alike = {(seen[image], side): seen[other] for image, side, other in nearest}
    for position, one in enumerate(fingerprints):
        for side in range(sides[position]):
            there = same.get((one.pixels, side), {}).items()
            others = [first for group, first in itertools.islice(there, 2) if group != groups[position]]
            if others:
                yield others[0], position, True
            elif (position, side) in alike:
                yield alike[position, side], position, False


def _looks(fingerprints: Sequence[Fingerprint], positions: Sequence[int]) -> NDArray[np.uint64]:
    return np.array([fingerprints[position].look for position in positions], np.uint64)


def _tree(looks: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """Two positions at a time whose looks are near, until all that are near, over whichever others, hang together."""
    tree = np.arange(len(looks))
    members = [[position] for position in range(len(looks))]
    for member, others, _ in _near(looks):
        for other in others[tree[others] != tree[member]]:
            if tree[other] != tree[member]:
                yield member, int(other)
                small, large = sorted((int(tree[member]), int(tree[other])), key=lambda one: len(members[one]))
                tree[members[small]] = large
                members[large] += members[small]
                members[small] = []


def _nearest(looks: NDArray[np.uint64], sides: Int64Array, groups: Int64Array) -> Iterator[tuple[int, int, int]]:
    """For every position and every lower side the position there that looks most like it, the first of those that do so equally."""
    none = np.iinfo(np.int64).max
    best = np.full((int(sides.max(initial=0)) + 1, len(looks)), none)
    for member, others, bits in _near(looks):
        side, told = sides[member], groups[others] != groups[member]
        later, earlier = told & (sides[others] > side), told & (sides[others] < side)
        best[side, others[later]] = np.minimum(best[side, others[later]], bits[later] * len(looks) + member)
        np.minimum.at(best[:, member], sides[others[earlier]], bits[earlier] * len(looks) + others[earlier])
    for side, position in zip(*np.nonzero(best != none), strict=True):
        yield int(position), int(side), int(best[side, position] % len(looks))


def _near(looks: NDArray[np.uint64]) -> Iterator[tuple[int, Int64Array, Int64Array]]:
    """Every position with others that differ from it in at most NEAR bits, and in how many; each two such at least once.

    Of NEAR + 1 parts of the bits two such have one in common, so that only those have to be compared.
    """
    edges = np.linspace(0, 64, NEAR + 2).round().astype(int)
    for low, high in itertools.pairwise(edges):
        part = (looks >> np.uint64(low)) & np.uint64(2 ** int(high - low) - 1)
        order = np.argsort(part, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
            here = looks[members]
            for place in range(len(members) - 1):
                bits = np.bitwise_count(here[place + 1 :] ^ here[place])
                close = np.flatnonzero(bits <= NEAR)
                if len(close):
                    yield int(members[place]), members[place + 1 :][close], bits[close].astype(np.int64)
