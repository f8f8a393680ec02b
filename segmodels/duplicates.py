"""Images that are the same, or all but: by their pixels' hash and by a perceptual hash (imagehash's phash, 64 bit)."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segmodels.samples import UInt8Array, image_digest

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


def pairs(fingerprints: Sequence[Fingerprint]) -> Iterator[tuple[int, int, bool]]:
    """The positions of every two images that are alike, the lower first, and whether their pixels are the same."""
    same: dict[str, list[int]] = {}
    for position, one in enumerate(fingerprints):
        for other in same.setdefault(one.pixels, []):
            yield other, position, True
        same[one.pixels].append(position)
    seen = [position for position, one in enumerate(fingerprints) if one.look is not None]
    looks = np.array([fingerprints[position].look for position in seen], np.uint64)
    for first, second in sorted(_near(looks)):
        low, high = sorted((seen[first], seen[second]))
        if fingerprints[low].pixels != fingerprints[high].pixels:
            yield low, high, False


def _near(looks: NDArray[np.uint64]) -> set[tuple[int, int]]:
    """Positions of hashes that differ in at most NEAR bits: of NEAR + 1 parts of the bits two such have one in common."""
    found: set[tuple[int, int]] = set()
    edges = np.linspace(0, 64, NEAR + 2).round().astype(int)
    for low, high in itertools.pairwise(edges):
        part = (looks >> np.uint64(low)) & np.uint64(2 ** int(high - low) - 1)
        order = np.argsort(part, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
            for place, member in enumerate(members[:-1]):
                rest = members[place + 1 :]
                close = rest[np.bitwise_count(looks[rest] ^ looks[member]) <= NEAR]
                found.update((min(int(member), int(other)), max(int(member), int(other))) for other in close)
    return found
