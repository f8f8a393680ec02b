"""Batches for training and validation, straight from the store's memory maps.

What a sample looks like in an epoch depends on the seed, the epoch and its row alone: not on the worker that draws it, nor on whether
the training was interrupted in between.
"""

import copy
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from segmodels import crops, memory
from segmodels.crops import Balance
from segmodels.errors import InputError
from segmodels.recipes import Recipe, draw_seed
from segmodels.resizing import fit_and_pad
from segmodels.samples import ImageArray, UInt8Array
from segmodels.store import Store
from segmodels.variants import Variants

MOST_WORKERS = 16
"""Processes that draw samples for one GPU; each may hold 100 MB."""
KEPT_SHARE = 0.1
"""Of the memory that is free, for validation samples that the next epoch wants again."""
REDRAWN = 8
"""How often at most a sample is drawn until it shows the class that it was drawn for."""


class Batch(NamedTuple):
    """`images` B x channels x H x W, uint8 or uint16, laid out channels-last; `masks` B x H x W uint8."""

    images: Tensor
    masks: Tensor


class _AtOnce(Dataset[tuple[ImageArray, UInt8Array]]):
    """Samples, those of a batch by several threads: while a network waits for them, the cores have nothing else to do."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None

    def __getitems__(self, keys: Sequence[Any]) -> list[tuple[ImageArray, UInt8Array]]:
        """What a DataLoader asks for."""
        if self.threads == 1:
            return [self[key] for key in keys]
        if self._pool is None:  # not before a worker is forked
            self._pool = ThreadPoolExecutor(self.threads, initializer=_without_threads)
        return list(self._pool.map(self.__getitem__, keys))


class _Drawn(_AtOnce):
    """Training samples by (epoch, row), augmented."""

    def __init__(
        self, store: Store, recipe: Recipe, variants: Variants | None, *, balanced_crops: float, seed: int, threads: int
    ) -> None:
        assert variants is None or balanced_crops == 0, "variants were drawn of whole images"
        super().__init__(threads)
        self.store, self.variants, self.balanced_crops, self.seed = store, variants, balanced_crops, seed
        self.balance = Balance(store)
        self._recipe, self._copies = recipe, dict[int, Recipe]()

    @property
    def recipe(self) -> Recipe:
        """Of this thread: a recipe has a state while it draws."""
        thread = threading.get_ident()
        if thread not in self._copies:
            self._copies[thread] = copy.deepcopy(self._recipe)
        return self._copies[thread]

    def __getitem__(self, key: tuple[int, int]) -> tuple[ImageArray, UInt8Array]:
        epoch, row = key
        if self.variants is not None:
            return self.variants.pair(row, epoch=epoch)
        if self.balanced_crops > 0 and self.balance.possible:
            rng = np.random.default_rng((self.seed, epoch, row))
            if rng.random() < self.balanced_crops:
                return self._balanced(rng)
        return self.recipe(self.store.image(row), self.store.mask(row), seed=draw_seed(self.seed, epoch, row))

    def _balanced(self, rng: np.random.Generator) -> tuple[ImageArray, UInt8Array]:
        """An image of a class drawn evenly, cropped around it; where the recipe leaves nothing of the class it is drawn again."""
        row, values = self.balance.draw(rng)
        image, mask = self.store.image(row), self.store.mask(row)
        for _ in range(REDRAWN):
            part, part_mask = crops.around(image, mask, values, self.recipe.size_px, rng)
            drawn, drawn_mask = self.recipe(part, part_mask, seed=int(rng.integers(2**32)))
            if np.isin(drawn_mask, values).any():
                break
        return drawn, drawn_mask


class _Fitted(_AtOnce):
    """Validation samples, fitted into the network's size. Each epoch wants the same: they are kept, as long as `room_bytes` lasts."""

    def __init__(self, store: Store, rows: Sequence[int], size_px: tuple[int, int], *, room_bytes: int, threads: int) -> None:
        super().__init__(threads)
        self.store, self.rows, self.size_px, self.room_bytes = store, rows, size_px, room_bytes
        self._kept: dict[int, tuple[ImageArray, UInt8Array]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[ImageArray, UInt8Array]:
        if index in self._kept:
            return self._kept[index]
        row = self.rows[index]
        return fit_and_pad(self.store.image(row), self.store.mask(row), self.size_px)

    def __getitems__(self, keys: Sequence[int]) -> list[tuple[ImageArray, UInt8Array]]:
        samples = super().__getitems__(keys)
        for key, (image, mask) in zip(keys, samples, strict=True):
            if key not in self._kept and image.nbytes + mask.nbytes <= self.room_bytes:
                self.room_bytes -= image.nbytes + mask.nbytes
                self._kept[key] = image, mask
        return samples


class PartSampler(Sampler[tuple[int, int]]):
    """Each epoch every row once, in an order that only the seed and the epoch decide, in `parts` of whole batches.

    Lightning calls `set_epoch` with the number of the part, counted over all epochs; `start` is the one to begin with, because workers
    draw before that. Parts are of one length, which Lightning takes from the first: what is left over at an epoch's end is drawn in
    another epoch. Of `world` processes each gets its equal share of every batch.
    """

    def __init__(self, rows: Sequence[int], *, batch_size: int, parts: int, start: int, rank: int, world: int, seed: int) -> None:
        assert batch_size % world == 0, (batch_size, world)
        self.rows, self.parts, self.seed, self.number = np.array(rows), parts, seed, start
        self.rank, self.world = rank, world
        self.rows_a_part = len(rows) // batch_size // parts * batch_size

    def set_epoch(self, epoch: int) -> None:
        self.number = epoch

    def __len__(self) -> int:
        return self.rows_a_part // self.world

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, part = divmod(self.number, self.parts)
        order = np.random.default_rng((self.seed, epoch)).permutation(self.rows)
        mine = order[part * self.rows_a_part : (part + 1) * self.rows_a_part]
        # whole batches: every so-many-th row is the same share of each
        return iter([(epoch, int(row)) for row in mine[self.rank :: self.world]])


def fitting(store: Store, batch_size: int) -> int:
    """The batch size that is used where so many images were asked for: a dataset smaller than a batch is one batch."""
    return min(batch_size, len(store.rows("train")))


def refuse_uneven(store: Store, batch_size: int, devices: int) -> None:
    """Refuse a batch of which the devices cannot have equal shares.

    Raises:
        InputError: says the size that is used, which a small dataset makes smaller than asked for.
    """
    size = fitting(store, batch_size)
    if size % devices:
        raise InputError(f"training.batch_size: {size} images cannot be shared evenly by {devices} devices; choose a multiple")


def divisor(number: int, at_most: int) -> int:
    """The largest divisor that is not larger: micro-batches of a batch are equally large."""
    return max(one for one in range(1, max(1, at_most) + 1) if number % one == 0)


def training(
    store: Store,
    recipe: Recipe,
    variants: Variants | None = None,
    *,
    batch_size: int,
    micro_batch_size: int,
    balanced_crops: float,
    parts: int,
    start: int,
    rank: int,
    world: int,
    seed: int,
    pin: bool,
) -> DataLoader[Any]:
    """Augmented micro-batches of equal size, so many after each other as make up a batch.

    Args:
        variants: what the recipe drew beforehand, if it did.
        balanced_crops: the share of the samples that are drawn for a class instead, all classes alike, see crops.py.
        parts: of an epoch, `start`: the one to begin with, counted over all epochs; `rank` and `world`: of the processes that train together, see PartSampler.
    """
    loading = _loading(pin)
    return DataLoader(
        _Drawn(store, recipe, variants, balanced_crops=balanced_crops, seed=seed, threads=_threads(loading)),
        batch_size=micro_batch_size,
        sampler=PartSampler(
            store.rows("train"), batch_size=batch_size, parts=parts, start=start, rank=rank, world=world, seed=seed
        ),
        **loading,
    )


def validation(store: Store, *, size_px: tuple[int, int], batch_size: int, rank: int, world: int, pin: bool) -> DataLoader[Any]:
    """All validation samples in the manifest's order; of `world` processes each gets its share."""
    loading = _loading(pin)
    # workers would keep several copies, and hide the time besides
    room_bytes = 0 if loading["num_workers"] else int(KEPT_SHARE * memory.available_bytes() / world)
    fitted = _Fitted(store, store.rows("val")[rank::world], size_px, room_bytes=room_bytes, threads=_threads(loading))
    return DataLoader(fitted, batch_size=batch_size, **loading)


def stack(pairs: Sequence[tuple[ImageArray, UInt8Array]]) -> Batch:
    images_BHWC = torch.from_numpy(np.stack([image for image, _ in pairs]))
    masks_BHW = torch.from_numpy(np.stack([mask for _, mask in pairs]))
    return Batch(images_BHWC.permute(0, 3, 1, 2), masks_BHW)  # a view: NHWC in memory is channels-last


def _loading(pin: bool) -> dict[str, Any]:
    workers = _num_workers(pin)
    return {
        "collate_fn": stack,
        "num_workers": workers,
        "pin_memory": pin,
        "persistent_workers": workers > 0,
        "worker_init_fn": _without_threads,
    }


def _num_workers(for_gpu: bool) -> int:
    # on few cores workers only take them from the network: 2.8 times the CPU an image on two cores. A GPU waits for them: of `light` at
    # 512 x 512 eight draw 834 images a second beside an H100, fourteen 1130
    return max(0, min(MOST_WORKERS, (os.cpu_count() or 1) - 2)) if for_gpu else 0


def _threads(loading: dict[str, Any]) -> int:
    """Of a process that draws samples: as many as the network has, which waits meanwhile; a worker is one of many."""
    return 1 if loading["num_workers"] else torch.get_num_threads()


def _without_threads(_: int = 0) -> None:
    # OpenCV would take every core in each of the workers and threads. 0, not 1: with 1 a fork waits for ever for threads of its parent
    cv2.setNumThreads(0)
