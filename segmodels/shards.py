"""Raw pixels of many samples in one file, some hundred MB of them, which is kept as long as it would be written the same again.

Where a shard begins depends on the samples' ids and sizes around that place alone, and which shards there are on nothing else: a
dataset that grows by five images has five new shards at most. A shard is a folder of `images.bin`, `masks.bin` and `shard.json`.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from segmodels import atomic, digests
from segmodels.errors import DatasetError
from segmodels.label_sets import SetTable
from segmodels.pairs import Facts, load
from segmodels.samples import ImageArray, ImageKind, Sample, SegmentationClass, Task, UInt8Array

SHARD_BYTES = 128 * 2**20
"""Of images, on average; the largest has twice as much."""


class Pair(NamedTuple):
    """One decoded sample. `image` H x W x channels, `labelling` H x W or C x H x W (see labels.py)."""

    id: str
    image: ImageArray
    labelling: UInt8Array


class Row(NamedTuple):
    """What is known of one sample of a shard, and where in its two files its pixels begin."""

    id: str
    facts: Facts
    image_offset: int
    mask_offset: int


@dataclass(frozen=True)
class Shard:
    """One that lies in `folder`.

    Attributes:
        images, masks: the sha256 of each of its files.
        sets: what the values of its masks stand for where classes overlap.
    """

    folder: Path
    images: str
    masks: str
    sets: list[tuple[int, ...]]

    def rows(self) -> list[Row]:
        """In the order of the samples' ids; read each time, as those of a large dataset are no small thing to keep."""
        noted = json.loads((self.folder / _FACTS).read_text(encoding="utf-8"))
        return [Row(**row | {"facts": Facts(**row["facts"])}) for row in noted["rows"]]


@dataclass(frozen=True)
class Order:
    """A shard to be made. `size` is that of its images in bytes."""

    folder: Path
    samples: Sequence[Sample]
    classes: Sequence[SegmentationClass]
    task: Task
    kind: ImageKind
    size: int


def cut(sizes: Mapping[str, int], *, shard_bytes: int = SHARD_BYTES) -> Iterator[list[str]]:
    """The ids in their order, in parts whose sizes are about `shard_bytes` together (content-defined chunking)."""
    part, filled = list[str](), 0
    for name in sorted(sizes):
        drawn = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64  # uniform in [0, 1)
        begins = filled >= shard_bytes / 4 and drawn < sizes[name] / (0.75 * shard_bytes)
        if part and (begins or filled + sizes[name] > 2 * shard_bytes):
            yield part
            part, filled = [], 0
        part.append(name)
        filled += sizes[name]
    if part:
        yield part


def make(order: Order) -> list[str]:
    """Make a shard unless it is there, whole; returns what is wrong with its samples, in which case there is none. Runs in a worker."""
    if is_whole(order.folder):
        return []
    problems = list[str]()

    def pairs() -> Iterator[Pair]:
        for sample in order.samples:
            try:
                yield Pair(sample.id, *load(sample, order.classes, order.kind))
            except DatasetError as error:
                problems.append(str(error))

    try:
        with atomic.folder(order.folder) as partial:
            write(partial, pairs(), order.classes, order.task)
            if problems:
                raise DatasetError("unsound pairs", problems)
    except DatasetError as error:
        return error.problems or [f"{order.samples[0].image_path.parent}: {error}"]
    return []


def write(folder: Path, pairs: Iterable[Pair], classes: Sequence[SegmentationClass], task: Task = "multiclass") -> None:
    """Write a shard into an empty folder, one pair in memory at a time.

    Raises:
        DatasetError: classes overlap in too many ways.
    """
    table, rows = SetTable(), list[dict[str, Any]]()
    with (folder / _IMAGES).open("wb") as images, (folder / _MASKS).open("wb") as masks:
        for one in pairs:
            mask = table.mask(one.labelling) if task == "multilabel" else one.labelling
            facts = Facts.of(one.image, one.labelling, classes)
            row = Row(one.id, facts, _append(images, one.image), _append(masks, mask))
            rows.append(row._asdict() | {"facts": facts.to_dict()})
    hashes = {"images": digests.of_file(folder / _IMAGES), "masks": digests.of_file(folder / _MASKS)}
    (folder / _FACTS).write_text(json.dumps({**hashes, "sets": table.sets, "rows": rows}), encoding="utf-8")


def read(folder: Path) -> Shard:
    """A shard that is whole."""
    noted = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    return Shard(folder, noted["images"], noted["masks"], [tuple(one) for one in noted["sets"]])


def is_whole(folder: Path) -> bool:
    """Whether there is a shard whose files are as they were written."""
    try:
        found = read(folder)
        return (found.images, found.masks) == (digests.of_file(folder / _IMAGES), digests.of_file(folder / _MASKS))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def images_of(shard: Shard) -> Path:
    return shard.folder / _IMAGES


def masks_of(shard: Shard) -> Path:
    return shard.folder / _MASKS


_IMAGES, _MASKS, _FACTS = "images.bin", "masks.bin", "shard.json"


def _append(file: BinaryIO, pixels: ImageArray) -> int:
    begins = file.tell()
    file.write(np.ascontiguousarray(pixels).data)
    return begins
