"""Batches for training and validation, straight from the store's memory maps.

What a sample looks like in an epoch depends on the seed, the epoch and its row alone: not on the worker that draws it, nor on whether
the training was interrupted in between.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from segmodels.recipes import Recipe, draw_seed
from segmodels.resizing import fit_and_pad
from segmodels.samples import UInt8Array
from segmodels.store import Store


class Batch(NamedTuple):
    """`images` B x 3 x H x W uint8, laid out channels-last; `masks` B x H x W uint8."""

    images: Tensor
    masks: Tensor


class _Drawn(Dataset[tuple[UInt8Array, UInt8Array]]):
    """Training samples by (epoch, row), augmented."""

    def __init__(self, store: Store, recipe: Recipe, seed: int) -> None:
        self.store, self.recipe, self.seed = store, recipe, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[UInt8Array, UInt8Array]:
        epoch, row = key
        return self.recipe(self.store.image(row), self.store.mask(row), seed=draw_seed(self.seed, epoch, row))


class _Fitted(Dataset[tuple[UInt8Array, UInt8Array]]):
    """Validation samples, fitted into the network's size."""

    def __init__(self, store: Store, rows: Sequence[int], size_px: tuple[int, int]) -> None:
        self.store, self.rows, self.size_px = store, rows, size_px

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        row = self.rows[index]
        return fit_and_pad(self.store.image(row), self.store.mask(row), self.size_px)


class EpochSampler(Sampler[tuple[int, int]]):
    """Each epoch every row once, in an order that only the seed and the epoch decide. Lightning calls `set_epoch`."""

    def __init__(self, rows: Sequence[int], seed: int) -> None:
        self.rows, self.seed, self.epoch = np.array(rows), seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.rows)
        return iter([(self.epoch, int(row)) for row in order])


def training(store: Store, recipe: Recipe, *, batch_size: int, seed: int, pin: bool) -> DataLoader[Any]:
    """Augmented batches of equal size; what is left over at an epoch's end is drawn in another epoch."""
    rows = store.rows("train")
    return DataLoader(
        _Drawn(store, recipe, seed),
        batch_size=min(batch_size, len(rows)),
        sampler=EpochSampler(rows, seed),
        drop_last=True,
        **_loading(pin),
    )


def validation(store: Store, *, size_px: tuple[int, int], batch_size: int, pin: bool) -> DataLoader[Any]:
    """All validation samples in the manifest's order."""
    return DataLoader(_Fitted(store, store.rows("val"), size_px), batch_size=batch_size, **_loading(pin))


def stack(pairs: Sequence[tuple[UInt8Array, UInt8Array]]) -> Batch:
    images_BHWC = torch.from_numpy(np.stack([image for image, _ in pairs]))
    masks_BHW = torch.from_numpy(np.stack([mask for _, mask in pairs]))
    return Batch(images_BHWC.permute(0, 3, 1, 2), masks_BHW)  # a view: NHWC in memory is channels-last


def _loading(pin: bool) -> dict[str, Any]:
    # on few cores workers only take them from the network: 2.8 times the CPU an image on two cores
    workers = min(8, (os.cpu_count() or 1) - 2) if pin else 0
    return {"collate_fn": stack, "num_workers": max(0, workers), "pin_memory": pin, "persistent_workers": workers > 0}
