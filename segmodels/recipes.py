"""A compiled augmentation recipe: one draw moves image and mask together, and the same seed draws the same again."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
from numpy.typing import NDArray

from segmodels.atomic import write_json
from segmodels.errors import DatasetError
from segmodels.samples import RGB, ImageArray, ImageKind, UInt8Array

RGB_ONLY = (
    "ColorJitter",
    "PlanckianJitter",
    "RandomToneCurve",
    "ToGray",
    "ISONoise",
    "RandomShadow",
    "Illumination",
    "ImageCompression",
)
"""What albumentations does to images in 8 bits with the three channels of RGB alone."""

SEEN_PX, HEADROOM = 100_000, 1.25
"""Of so many pixels of an image in 16 bits its brightest are found, and white is so much brighter."""


def for_kind(transforms: Sequence[A.BasicTransform], kind: ImageKind) -> list[A.BasicTransform]:
    """The transforms that images of a kind can have: of others than RGB in 8 bits brightness and contrast change instead of colours."""
    if kind == RGB:
        return list(transforms)
    found: list[A.BasicTransform] = []
    for one in transforms:
        if isinstance(one, A.OneOf):
            inner = for_kind(one.transforms, kind)
            found += [A.OneOf(inner, p=one.p)] if inner else []
        elif isinstance(one, A.ColorJitter):
            bounds = [(low - 1, high - 1) for low, high in (one.brightness, one.contrast)]
            found.append(A.RandomBrightnessContrast(brightness_limit=bounds[0], contrast_limit=bounds[1], p=one.p))
        elif type(one).__name__ not in RGB_ONLY:
            found.append(one)
    return found


class Recipe:
    """Transforms that turn an image of a kind and its mask, of any size, into ones of `size_px` = (height, width)."""

    def __init__(self, transforms: Sequence[A.BasicTransform], size_px: tuple[int, int], kind: ImageKind = RGB) -> None:
        self.size_px, self.kind = size_px, kind
        self._compose = A.Compose(for_kind(transforms, kind))

    def __call__(self, image: ImageArray, mask: UInt8Array, *, seed: int) -> tuple[ImageArray, UInt8Array]:
        """One augmented pair; a pure function of its arguments."""
        self._compose.set_random_seed(seed)
        if self.kind.bits == 8:
            drawn = self._compose(image=image, mask=mask)
            return drawn["image"], drawn["mask"]
        black, span = _window(image)
        drawn = self._compose(image=(image - black) / span, mask=mask)
        return (drawn["image"] * span + black).round().clip(0, 65535).astype(np.uint16), drawn["mask"]

    def geometry(self) -> "Recipe":
        """The part that moves pixels: without what changes their colour or erases them."""
        moving = [t for t in self._compose.transforms if isinstance(t, A.DualTransform) and "Dropout" not in type(t).__name__]
        return Recipe(moving, self.size_px, self.kind)

    def save(self, path: Path, **noted: Any) -> None:
        """Write it as JSON, with what else is to be noted beside it."""
        write_json(
            path, {"size_px": list(self.size_px), "kind": self.kind._asdict(), **noted, "transforms": A.to_dict(self._compose)}
        )

    @classmethod
    def load(cls, path: Path) -> "Recipe":
        if not path.is_file():
            raise DatasetError(f"{path}: recipe is missing; run `segmodels augment`")
        saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        with warnings.catch_warnings():
            # albumentations saves what it made of an argument, and then says that this is none
            warnings.filterwarnings("ignore", message=".*'padding' are not valid for transform PadIfNeeded")
            compose = A.from_dict(saved["transforms"])
        assert isinstance(compose, A.Compose)
        height, width = saved["size_px"]
        return cls(compose.transforms, (height, width), ImageKind(**saved["kind"]))


def _window(image_HWC: ImageArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """By channel, what stands for black, and how much brighter than that white is.

    albumentations changes brightness, and fills, within 0 and 1. Sensors hardly ever fill 16 bits, so within all of these a little more
    brightness would wash out all that there is. A few pixels may be brighter than white: they stay so where only geometry changes.
    """
    step = max(1, round((image_HWC.shape[0] * image_HWC.shape[1] / SEEN_PX) ** 0.5))
    bright = np.percentile(image_HWC[::step, ::step], 99.9, axis=(0, 1))
    black = image_HWC.min(axis=(0, 1)).astype(np.float32)
    return black, np.maximum(HEADROOM * (bright - black), 1).astype(np.float32)


def draw_seed(seed: int, epoch: int, row: int) -> int:
    """The seed of one sample's draw in one epoch, the same in any worker and after any resume."""
    return int(np.random.SeedSequence((seed, epoch, row)).generate_state(1)[0])
