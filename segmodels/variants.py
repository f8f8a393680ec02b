"""Augmented training images that were drawn beforehand, as shards to map into memory: where drawing is slow, or cores are few.

Copy c of an image is what epoch c would have drawn, and epoch e takes copy e modulo their number: the first epochs train on the very
same images as without.
"""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from segmodels.errors import DatasetError
from segmodels.samples import ImageArray, UInt8Array
from segmodels.store import Store


class Variants:
    """What was drawn, opened for reading."""

    def __init__(self, folder: Path, store: Store, *, copies: int, size_px: tuple[int, int]) -> None:
        self.folder, self.copies, self.size_px, self.kind = folder, copies, size_px, store.kind
        self._position = {row: position for position, row in enumerate(store.rows("train"))}

    def pair(self, row: int, *, epoch: int) -> tuple[ImageArray, UInt8Array]:
        """Read-only views of the image and the mask that an epoch has of a row of the store."""
        images, masks = self._opened[epoch % self.copies]
        return images[self._position[row]], masks[self._position[row]]

    @cached_property
    def _opened(self) -> list[tuple[ImageArray, UInt8Array]]:
        shape = len(self._position), *self.size_px
        return [
            (
                np.memmap(images, self.kind.dtype, mode="r", shape=(*shape, self.kind.channels)),
                np.memmap(masks, np.uint8, mode="r", shape=shape),
            )
            for images, masks in (files(self.folder, number) for number in range(self.copies))
        ]

    def __getstate__(self) -> dict[str, Any]:
        # a worker process opens the maps itself: pickling one would copy them
        return {key: value for key, value in self.__dict__.items() if key != "_opened"}


def find(folder: Path, store: Store) -> Variants | None:
    """Those that the stage `augment` drew into a folder; None where images are drawn as they are wanted.

    Raises:
        DatasetError: they are of other images.
    """
    saved = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    if not saved["copies"]:
        return None
    if saved["dataset_sha256"] != store.sha256:
        raise DatasetError(f"{folder}: its copies are of another version of the dataset; run `segmodels augment`")
    height, width = saved["size_px"]
    return Variants(folder, store, copies=saved["copies"], size_px=(height, width))


def files(folder: Path, number: int) -> tuple[Path, Path]:
    """The images and the masks of one copy of the training images, in the store's order."""
    return folder / f"images-{number:05d}.bin", folder / f"masks-{number:05d}.bin"
