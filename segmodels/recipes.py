"""A compiled augmentation recipe: one draw moves image and mask together, and the same seed draws the same again."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np

from segmodels.atomic import write_json
from segmodels.errors import DatasetError
from segmodels.samples import UInt8Array


class Recipe:
    """Transforms that turn an image and its mask of any size into ones of `size_px` = (height, width)."""

    def __init__(self, transforms: Sequence[A.BasicTransform], size_px: tuple[int, int]) -> None:
        self.size_px = size_px
        self._compose = A.Compose(list(transforms))

    def __call__(self, image: UInt8Array, mask: UInt8Array, *, seed: int) -> tuple[UInt8Array, UInt8Array]:
        """One augmented pair; a pure function of its arguments."""
        self._compose.set_random_seed(seed)
        drawn = self._compose(image=image, mask=mask)
        return drawn["image"], drawn["mask"]

    def geometry(self) -> "Recipe":
        """The part that moves pixels: without what changes their colour or erases them."""
        moving = [t for t in self._compose.transforms if isinstance(t, A.DualTransform) and "Dropout" not in type(t).__name__]
        return Recipe(moving, self.size_px)

    def save(self, path: Path, **noted: Any) -> None:
        """Write it as JSON, with what else is to be noted beside it."""
        write_json(path, {"size_px": list(self.size_px), **noted, "transforms": A.to_dict(self._compose)})

    @classmethod
    def load(cls, path: Path) -> "Recipe":
        if not path.is_file():
            raise DatasetError(f"{path}: recipe is missing; run `segmodels augment`")
        saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        compose = A.from_dict(saved["transforms"])
        assert isinstance(compose, A.Compose)
        height, width = saved["size_px"]
        return cls(compose.transforms, (height, width))


def draw_seed(seed: int, epoch: int, row: int) -> int:
    """The seed of one sample's draw in one epoch, the same in any worker and after any resume."""
    return int(np.random.SeedSequence((seed, epoch, row)).generate_state(1)[0])
