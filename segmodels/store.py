"""Images and masks as memory-mapped shards of raw pixels, with a parquet manifest. Reading one is a slice: no decoding in training.

A store is a folder: `images-<hash>.bin`, `masks-<hash>.bin` hold the pixels row by row, `manifest.parquet` says which bytes are whose,
`dataset.json` names the task, the classes and the statistics. Every image keeps its own size.
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from segmodels.errors import DatasetError
from segmodels.labels import Labels
from segmodels.samples import PARTS, ImageArray, ImageKind, Part, SegmentationClass, Task, UInt8Array, trained

MANIFEST = pa.DataFrameSchema(
    {
        "id": pa.Column(str, unique=True),
        "split": pa.Column(str, pa.Check.isin(PARTS)),
        "group": pa.Column(str),
        "scene": pa.Column(str),
        "height": pa.Column("int64", pa.Check.ge(1)),
        "width": pa.Column("int64", pa.Check.ge(1)),
        "sha256": pa.Column(str, pa.Check.str_length(64, 64)),
        "image_sha256": pa.Column(str, pa.Check.str_length(64, 64)),
        "look": pa.Column(str),
        "images": pa.Column(str),
        "image_offset": pa.Column("int64", pa.Check.ge(0)),
        "masks": pa.Column(str),
        "mask_offset": pa.Column("int64", pa.Check.ge(0)),
        "pixels_void": pa.Column("int64", pa.Check.ge(0)),
        r"^pixels_\d+$": pa.Column("int64", pa.Check.ge(0), regex=True),
    },
    strict=True,
)
"""Of one `scene` are groups that have the same image, or images that look the same; `pixels_<class index>` counts the pixels that have the class, `pixels_void` those of which nothing is known; `sha256` is of the
image's pixels and their labelling, `image_sha256` of its size and pixels alone, `look` a perceptual hash; `images` and `masks` are
the files that they lie in."""


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
        self.kind = ImageKind(facts["channels"], facts["bits"])
        sets = tuple(tuple(labels) for labels in facts["label_sets"])
        self.labels = Labels(facts["task"], len(trained(self.classes)), sets)
        self.mean: list[float] = facts["mean"]
        """Mean of the training images' channels, in the images' own values."""
        self.std: list[float] = facts["std"]
        self.sha256: str = facts["sha256"]
        """Of the task and of the ids, splits and pixels of all samples."""
        check_pixels(self.manifest, self.labels.task)

    def rows(self, part: Part) -> list[int]:
        """The positions in the manifest of one part's samples, in its order."""
        return [int(row) for row in np.flatnonzero(self._columns["split"] == part)]

    def num_scenes(self, part: Part) -> int:
        """Of how many scenes one part's samples are."""
        return len(np.unique(self._columns["scene"][self.rows(part)]))

    def image(self, row: int) -> ImageArray:
        """A read-only view, H x W x channels, of the store's `kind`: no byte is read before it is used."""
        height, width, start = self._place(row, "image_offset")
        raw = self._map("images", row)[start : start + height * width * self.kind.bytes_a_pixel]
        return raw.view(self.kind.dtype).reshape(height, width, self.kind.channels)

    def mask(self, row: int) -> UInt8Array:
        """A read-only view, H x W; `labels` tells what it says."""
        height, width, start = self._place(row, "mask_offset")
        return self._map("masks", row)[start : start + height * width].reshape(height, width)

    def labelling(self, row: int) -> UInt8Array:
        """What the mask says: H x W or, where classes overlap, C x H x W (see labels.py)."""
        return self.labels.of_array(self.mask(row))

    def digest(self, part: Part) -> str:
        """Of the ids and pixels of one part: equal digests, equal images and masks."""
        rows = self.rows(part)
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

    def _map(self, kind: str, row: int) -> UInt8Array:
        name = self._columns[kind][row]
        if name not in self._opened:
            self._opened[name] = np.memmap(self.folder / name, np.uint8, mode="r")
        return self._opened[name]

    def __getstate__(self) -> dict[str, Any]:
        # a worker process opens the maps itself: pickling one would copy the dataset
        return {key: value for key, value in self.__dict__.items() if key != "_opened"}


def check_pixels(manifest: pd.DataFrame, task: Task) -> None:
    """Refuses a manifest whose classes' pixels do not add up: to the image, or to no more of each class if they overlap."""
    area = manifest["height"] * manifest["width"]
    counted = manifest.filter(regex="^pixels_")
    right = counted.le(area, axis=0).all(axis=None) if task == "multilabel" else (counted.sum(axis=1) == area).all()
    if not right:
        raise DatasetError("manifest: the classes' pixels do not add up to height x width; run `segmodels prepare` again")
