"""Images and masks as memory-mapped shards of raw uint8, with a parquet manifest. Reading one is a slice: no decoding in training.

A store is a folder: `images-00000.bin`, `masks-00000.bin`, ... hold the pixels row by row, `manifest.parquet` says which bytes are
whose, `dataset.json` names the task, the classes and the statistics. Every image keeps its own size.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pandas as pd
import pandera.pandas as pa

from segmodels.atomic import write_json
from segmodels.errors import DatasetError
from segmodels.labels import Labels, SetTable
from segmodels.samples import IGNORE_INDEX, SPLITS, Int64Array, SegmentationClass, Split, Task, UInt8Array, image_digest, trained

SHARD_BYTES = 256 * 2**20

MANIFEST = pa.DataFrameSchema(
    {
        "id": pa.Column(str, unique=True),
        "split": pa.Column(str, pa.Check.isin(SPLITS)),
        "group": pa.Column(str),
        "height": pa.Column("int64", pa.Check.ge(1)),
        "width": pa.Column("int64", pa.Check.ge(1)),
        "sha256": pa.Column(str, pa.Check.str_length(64, 64)),
        "image_sha256": pa.Column(str, pa.Check.str_length(64, 64)),
        "shard": pa.Column("int64", pa.Check.ge(0)),
        "image_offset": pa.Column("int64", pa.Check.ge(0)),
        "mask_offset": pa.Column("int64", pa.Check.ge(0)),
        "pixels_void": pa.Column("int64", pa.Check.ge(0)),
        r"^pixels_\d+$": pa.Column("int64", pa.Check.ge(0), regex=True),
    },
    strict=True,
)
"""`pixels_<class index>` counts the pixels that have the class, `pixels_void` those of which nothing is known; `sha256` is of the
image's pixels and their labelling, `image_sha256` of its size and pixels alone."""


class Place(NamedTuple):
    """Where a sample belongs."""

    split: Split
    group: str


@dataclass(frozen=True)
class Packed:
    """One decoded sample on its way into a store. `image` H x W x 3, `labelling` H x W or C x H x W (see labels.py)."""

    id: str
    image: UInt8Array
    labelling: UInt8Array


def write(
    folder: Path,
    samples: Iterable[Packed],
    classes: Sequence[SegmentationClass],
    task: Task = "multiclass",
    *,
    place: Callable[[], Mapping[str, Place]],
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a store into an empty folder, one sample in memory at a time.

    Args:
        place: where each sample belongs, by its id; asked when all have been seen.
    """
    num_classes = len(trained(classes))
    rows: list[dict[str, Any]] = []
    moments: list[_Moments] = []
    table = SetTable()
    with _Shards(folder, shard_bytes) as shards:
        for sample in samples:
            mask = table.mask(sample.labelling) if task == "multilabel" else sample.labelling
            shard, image_offset, mask_offset = shards.append(sample.image, mask)
            moments.append(_Moments.of(sample.image))
            rows.append(
                {
                    "id": sample.id,
                    "height": mask.shape[0],
                    "width": mask.shape[1],
                    # not of the mask: which number a combination of classes has, depends on the samples before
                    "sha256": hashlib.sha256(sample.image.tobytes() + sample.labelling.tobytes()).hexdigest(),
                    "image_sha256": image_digest(sample.image),
                    "shard": shard,
                    "image_offset": image_offset,
                    "mask_offset": mask_offset,
                    "pixels_void": int((mask == IGNORE_INDEX).sum()),
                    **{f"pixels_{index}": pixels for index, pixels in enumerate(_pixels(sample.labelling, num_classes))},
                }
            )
    places = place()
    rows = [row | places[row["id"]]._asdict() for row in rows]
    in_training = [one for one, row in zip(moments, rows, strict=True) if row["split"] == "train"]
    total = sum(in_training, _Moments.of(np.zeros((0, 0, 3), np.uint8)))
    manifest = MANIFEST.validate(pd.DataFrame(rows))
    _check_pixels(manifest, task)
    manifest.to_parquet(folder / "manifest.parquet", index=False)
    lines = [task, *(f"{row['id']}\0{row['split']}\0{row['sha256']}" for row in rows)]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    write_json(
        folder / "dataset.json",
        {
            "task": task,
            "label_sets": table.sets,
            "classes": [one.to_dict() for one in classes],
            "mean": total.mean,
            "std": total.std,
            "num_images": {split: int((manifest["split"] == split).sum()) for split in SPLITS},
            "sha256": digest,
        },
    )


def _check_pixels(manifest: pd.DataFrame, task: Task) -> None:
    """Refuses a manifest whose classes' pixels do not add up: to the image, or to no more of each class if they overlap."""
    area = manifest["height"] * manifest["width"]
    counted = manifest.filter(regex="^pixels_")
    right = counted.le(area, axis=0).all(axis=None) if task == "multilabel" else (counted.sum(axis=1) == area).all()
    if not right:
        raise DatasetError("manifest: the classes' pixels do not add up to height x width; run `segmodels prepare` again")


def _pixels(labelling: UInt8Array, num_classes: int) -> list[int]:
    """How many pixels have each class."""
    if labelling.ndim == 2:
        return [int(count) for count in np.bincount(labelling.reshape(-1), minlength=256)[:num_classes]]
    return [int(count) for count in (labelling == 1).sum(axis=(1, 2))]


class Store:
    """A store opened for reading. `with` is not needed: memory maps close with the object."""

    def __init__(self, folder: Path) -> None:
        if not all((folder / name).is_file() for name in ("dataset.json", "manifest.parquet")):
            raise DatasetError(f"{folder}: holds no prepared dataset; run `segmodels prepare`")
        try:
            facts = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
            self.manifest: pd.DataFrame = MANIFEST.validate(pd.read_parquet(folder / "manifest.parquet"))
        except (ValueError, pa.errors.SchemaError) as error:
            raise DatasetError(f"{folder}: the prepared dataset is damaged; run `segmodels prepare` again: {error}") from error
        self.folder = folder
        self.classes = [SegmentationClass.from_dict(one) for one in facts["classes"]]
        sets = tuple(tuple(labels) for labels in facts["label_sets"])
        self.labels = Labels(facts["task"], len(trained(self.classes)), sets)
        self.mean: list[float] = facts["mean"]
        """Mean of the training images' channels, RGB, on a scale of 0 to 255."""
        self.std: list[float] = facts["std"]
        self.sha256: str = facts["sha256"]
        """Of the task and of the ids, splits and pixels of all samples."""
        _check_pixels(self.manifest, self.labels.task)

    def rows(self, split: Split) -> list[int]:
        """The positions in the manifest of one split's samples, in its order."""
        return [int(row) for row in np.flatnonzero(self._columns["split"] == split)]

    def image(self, row: int) -> UInt8Array:
        """A read-only view, H x W x 3: no byte is read before it is used."""
        height, width, start = self._place(row, "image_offset")
        return self._maps("images", row)[start : start + height * width * 3].reshape(height, width, 3)

    def mask(self, row: int) -> UInt8Array:
        """A read-only view, H x W; `labels` tells what it says."""
        height, width, start = self._place(row, "mask_offset")
        return self._maps("masks", row)[start : start + height * width].reshape(height, width)

    def labelling(self, row: int) -> UInt8Array:
        """What the mask says: H x W or, where classes overlap, C x H x W (see labels.py)."""
        return self.labels.of_array(self.mask(row))

    def digest(self, split: Split) -> str:
        """Of the ids and pixels of one split: equal digests, equal images and masks."""
        rows = self.rows(split)
        names, hashes = self._columns["id"][rows], self._columns["sha256"][rows]
        return hashlib.sha256("".join(f"{a}\0{b}\n" for a, b in zip(names, hashes, strict=True)).encode()).hexdigest()

    def _place(self, row: int, offset: str) -> tuple[int, int, int]:
        columns = self._columns
        return int(columns["height"][row]), int(columns["width"][row]), int(columns[offset][row])

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        return {str(name): self.manifest[name].to_numpy() for name in self.manifest}  # pandas' own look-up costs 50 us a value

    @cached_property
    def _opened(self) -> dict[str, np.ndarray]:
        return {}

    def _maps(self, kind: str, row: int) -> UInt8Array:
        name = f"{kind}-{self._columns['shard'][row]:05d}.bin"
        if name not in self._opened:
            self._opened[name] = np.memmap(self.folder / name, np.uint8, mode="r")
        return self._opened[name]

    def __getstate__(self) -> dict[str, Any]:
        # a worker process opens the maps itself: pickling one would copy the dataset
        return {key: value for key, value in self.__dict__.items() if key != "_opened"}


class _Shards:
    """Appends to the current pair of files, and starts the next pair when the images' file is full."""

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self.folder, self.shard_bytes, self.number = folder, shard_bytes, -1
        self.files = ExitStack()
        self.images: BinaryIO
        self.masks: BinaryIO

    def __enter__(self) -> "_Shards":
        self._next()
        return self

    def __exit__(self, *_: object) -> None:
        self.files.close()

    def append(self, image: UInt8Array, mask: UInt8Array) -> tuple[int, int, int]:
        if self.images.tell() >= self.shard_bytes:
            self._next()
        place = self.number, self.images.tell(), self.masks.tell()
        self.images.write(np.ascontiguousarray(image).data)
        self.masks.write(np.ascontiguousarray(mask).data)
        return place

    def _next(self) -> None:
        self.files.close()
        self.number += 1
        self.images = self.files.enter_context((self.folder / f"images-{self.number:05d}.bin").open("wb"))
        self.masks = self.files.enter_context((self.folder / f"masks-{self.number:05d}.bin").open("wb"))


@dataclass(frozen=True)
class _Moments:
    """Mean and standard deviation of the channels, from integer sums: exact, in any order."""

    count: int
    total: Int64Array
    squares: Int64Array

    @classmethod
    def of(cls, image_HWC: UInt8Array) -> "_Moments":
        values = np.arange(256, dtype=np.int64)
        histograms = np.array([np.bincount(image_HWC[..., channel].reshape(-1), minlength=256) for channel in range(3)])
        return cls(image_HWC.shape[0] * image_HWC.shape[1], histograms @ values, histograms @ values**2)

    def __add__(self, other: "_Moments") -> "_Moments":
        return _Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> list[float]:
        return [float(value) for value in self.total / max(self.count, 1)]

    @property
    def std(self) -> list[float]:
        variance = self.squares / max(self.count, 1) - (self.total / max(self.count, 1)) ** 2
        return [float(max(value, 1.0)) for value in np.sqrt(np.maximum(variance, 0))]  # 1: images of one colour
