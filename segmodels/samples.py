"""The vocabulary: what an image, a mask, a class and a sample are everywhere in segmodels.

Shape suffixes: B batch, C classes or channels, H W pixels. Images are uint8 RGB, H x W x 3, unless a dataset is of another `ImageKind`. Masks are uint8 H x W: the index
of each pixel's class, counted from 0 without gaps, or IGNORE_INDEX where nobody knows (void); what they hold where classes overlap,
labels.py says.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

IGNORE_INDEX = 255
"""Void: pixels with this index are neither learned nor scored."""

MAX_CLASSES = 255
"""uint8 masks with one value taken by void."""

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Part = Literal["train", "val", "test", "vault"]
PARTS: tuple[Part, ...] = (*SPLITS, "vault")
"""What a prepared dataset is made of: the splits, and test scenes that no score has seen, see gate.py."""

Task = Literal["multiclass", "binary", "multilabel"]
"""One class a pixel out of several; yes or no; any number of classes a pixel."""

UInt8Array = NDArray[np.uint8]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]

BoolArray = NDArray[np.bool_]
ImageArray = NDArray[np.unsignedinteger[Any]]


class Windows(Protocol):
    """An image, H x W x channels, of which only what is sliced is read."""

    ndim: int
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    def __getitem__(self, where: tuple[slice, slice]) -> ImageArray: ...


"""An image, H x W x channels, uint8 or uint16; see `ImageKind`."""

Color = tuple[int, int, int]

# Okabe-Ito: told apart by colour-blind people; class 0 is drawn too (doi:10.1038/nmeth.1618).
OKABE_ITO: tuple[Color, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)


class ImageKind(NamedTuple):
    """What all images of a dataset are brought to: RGB in 8 bits, or as many channels and bits as they were taken with."""

    channels: int = 3
    bits: Literal[8, 16] = 8

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        return np.dtype(np.uint8 if self.bits == 8 else np.uint16)

    @property
    def bytes_a_pixel(self) -> int:
        return self.channels * self.bits // 8

    def __str__(self) -> str:
        channels = {1: "gray", 3: "RGB"}.get(self.channels, f"{self.channels} channels")
        return f"{channels} of {self.bits} bits"


RGB = ImageKind()


@dataclass(frozen=True)
class SegmentationClass:
    """One class as a dataset's masks state it: `value` is what the mask files hold, `ignore` makes it void."""

    name: str
    value: int
    color: Color
    ignore: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "color": list(self.color)}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "SegmentationClass":
        red, green, blue = raw["color"]
        return cls(raw["name"], raw["value"], (red, green, blue), raw.get("ignore", False))


class Annotation(Protocol):
    """What is known of an image's pixels, in whichever way it was written down; see annotations.py for the ways."""

    @property
    def files(self) -> Sequence[Path]:
        """All that is read for it; several samples may share a file."""

    @property
    def layers(self) -> Sequence[str] | None:
        """The classes that each have a mask of their own, and may overlap; None where a pixel has one class."""

    def labelling(self, size_HW: tuple[int, int], classes: Sequence[SegmentationClass]) -> UInt8Array:
        """Class indices, H x W, or what is known of each class where they overlap, C x H x W (see labels.py).

        Raises:
            DatasetError: it cannot be read, is of another size, or holds what no class has.
        """

    def key(self, digest: Callable[[Path], str]) -> str:
        """A name for what it says: equal keys, equal labellings of images of one size. `digest` is of what a file holds."""

    def instances(self, size_HW: tuple[int, int]) -> Int32Array | None:
        """The number of each pixel's object, H x W, from 1; 0 for none, or for a crowd. None: nobody told objects apart."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with what is known of it, as a dataset format lists it; nothing is decoded yet.

    Attributes:
        split: None where the dataset gives no split.
        group: the scene, video or patient; None where the dataset knows none.
    """

    id: str
    image_path: Path
    annotation: Annotation
    split: Split | None = None
    group: str | None = None

    @property
    def files(self) -> list[Path]:
        """The image's and the annotation's."""
        return [self.image_path, *self.annotation.files]

    def key(self, digest: Callable[[Path], str]) -> str:
        """A name for image and annotation by what they hold; see `Annotation.key`."""
        return f"{digest(self.image_path)} {self.annotation.key(digest)}"

    def instances(self, size_HW: tuple[int, int]) -> Int32Array | None:
        """The objects of the image; see `Annotation.instances`."""
        return self.annotation.instances(size_HW)


def default_color(index: int) -> Color:
    """A stable colour for a class index: Okabe-Ito first, then hues spread by the golden ratio."""
    if index < len(OKABE_ITO):
        return OKABE_ITO[index]
    import colorsys

    red, green, blue = colorsys.hsv_to_rgb((index * 0.618033988749895) % 1.0, 0.55, 0.9 - 0.3 * (index % 2))
    return round(red * 255), round(green * 255), round(blue * 255)


def image_digest(image_HWC: ImageArray) -> str:
    """The sha256 of an image's size and pixels: the same for the same picture, whatever its file."""
    size = "x".join(map(str, image_HWC.shape)) + ("" if image_HWC.dtype == np.uint8 else f" {image_HWC.dtype}")
    return hashlib.sha256(size.encode() + image_HWC.tobytes()).hexdigest()


def num_logits(task: Task, num_classes: int) -> int:
    """How many channels a network puts out: `binary` needs one to tell its two classes apart."""
    return 1 if task == "binary" else num_classes


def trained(classes: Sequence[SegmentationClass]) -> list[SegmentationClass]:
    """The classes a network learns, in the order of their indices: all but the ignored, by mask value."""
    return sorted((c for c in classes if not c.ignore), key=lambda c: c.value)
