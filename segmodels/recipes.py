"""A compiled augmentation recipe: one draw moves image and mask together, and the same seed draws the same again."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np

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
        # albumentations knows 8 bits, and floats from 0 to 1
        drawn = self._compose(image=image.astype(np.float32) / 65535, mask=mask)
        return (np.clip(drawn["image"], 0, 1) * 65535).round().astype(np.uint16), drawn["mask"]

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


def draw_seed(seed: int, epoch: int, row: int) -> int:
    """The seed of one sample's draw in one epoch, the same in any worker and after any resume."""
    return int(np.random.SeedSequence((seed, epoch, row)).generate_state(1)[0])
