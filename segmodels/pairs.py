"""An image and its labelling, decoded; and what is known of them once their pixels are gone."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from segmodels.alignment import fit
from segmodels.duplicates import Fingerprint, look
from segmodels.errors import DatasetError
from segmodels.images import read_image, shown
from segmodels.samples import (
    IGNORE_INDEX,
    RGB,
    ImageArray,
    ImageKind,
    Int32Array,
    Sample,
    SegmentationClass,
    UInt8Array,
    image_digest,
    trained,
)
from segmodels.suspects import Labelled


def load(sample: Sample, classes: Sequence[SegmentationClass], kind: ImageKind = RGB) -> tuple[ImageArray, UInt8Array]:
    """Decode one image, brought to `kind`, and its labelling: H x W of class indices or, where classes overlap, C x H x W (see labels.py).

    Raises:
        DatasetError: a file is unreadable, the sizes differ, or a mask holds what no class has.
    """
    image = read_image(sample.image_path, kind)
    height, width = image.shape[:2]
    labelling = sample.annotation.labelling((height, width), classes)
    if (labelling == IGNORE_INDEX).all():
        where = next(iter(sample.annotation.files), sample.image_path)
        raise DatasetError(f"{where}: says of no pixel what it is, all is void; label the image or leave it out")
    return image, labelling


@dataclass(frozen=True, slots=True)
class Facts:
    """What was counted in a sound pair.

    Attributes:
        sha256: of the image's pixels and its labelling; `image_sha256` of the image's size and pixels.
        look: the perceptual hash, hexadecimal; empty where the image shows nothing.
        pixels_void: pixels of which nothing is known; `pixels` that have each class.
        objects: how many were told apart; None where nobody did.
        fit: how well the labelling's borders lie on the image's edges, see alignment.py.
        total: the sum of the values of each channel; `squares` that of their squares.
    """

    height: int
    width: int
    sha256: str
    image_sha256: str
    look: str
    pixels_void: int
    pixels: list[int]
    total: list[int]
    squares: list[int]
    objects: int | None
    fit: float | None

    @property
    def classes(self) -> list[int]:
        """Those that it shows."""
        return [index for index, pixels in enumerate(self.pixels) if pixels]

    @classmethod
    def of(
        cls,
        image: ImageArray,
        labelling: UInt8Array,
        classes: Sequence[SegmentationClass],
        instances: Int32Array | None = None,
    ) -> "Facts":
        fingerprint = Fingerprint(image_digest(image), look(shown(image)))
        levels = np.iinfo(image.dtype).max + 1
        histograms = [np.bincount(image[..., channel].reshape(-1), minlength=levels) for channel in range(image.shape[2])]
        values = np.arange(levels, dtype=np.int64)
        overlap = labelling.ndim == 3
        return cls(
            height=image.shape[0],
            width=image.shape[1],
            sha256=hashlib.sha256(image.tobytes() + labelling.tobytes()).hexdigest(),
            image_sha256=fingerprint.pixels,
            look="" if fingerprint.look is None else f"{fingerprint.look:016x}",
            pixels_void=int(((labelling == IGNORE_INDEX).all(axis=0) if overlap else labelling == IGNORE_INDEX).sum()),
            pixels=_pixels(labelling, len(trained(classes))),
            total=[int(one @ values) for one in histograms],
            squares=[int(one @ values**2) for one in histograms],
            fit=fit(shown(image), labelling),
            objects=None if instances is None else len(np.unique(instances[instances > 0])),
        )

    def labelled(self, name: str) -> Labelled:
        return Labelled(name, self.fit, sum(count > 0 for count in self.pixels))

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint.of_hashes(self.image_sha256, self.look)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _pixels(labelling: UInt8Array, num_classes: int) -> list[int]:
    """How many pixels have each class."""
    if labelling.ndim == 2:
        return [int(count) for count in np.bincount(labelling.reshape(-1), minlength=256)[:num_classes]]
    return [int(count) for count in (labelling == 1).sum(axis=(1, 2))]
