"""Which split every image of a dataset is in, remembered with it: as it grows nothing moves, and least of all out of the test set.

Which split something new comes into depends on the images alone; but what belongs together may come to light later, when two scenes turn
out to be one, and an image that is exported anew has other pixels and the same name. Written into the dataset's copy as it is brought in, and so a part of each of its versions.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from segmodels import atomic
from segmodels.errors import DatasetError
from segmodels.samples import SPLITS, Split

NAME = "splits.parquet"
_DIGITS = 16
"""That are kept of a hash: of ten million images no two agree by chance."""

Draw = tuple[int, float, float]
"""What was asked for: the seed, and the shares of validation and test."""


class Remembered:
    """The split of an image by its hash, and of a sample by its id, of this version of the dataset or one before; all of one draw."""

    def __init__(self, draw: Draw, split_of: Mapping[int, int] | None = None) -> None:
        self.draw, self._split_of = draw, dict(split_of or {})

    def split(self, image_sha256: str, sample_id: str) -> Split | None:
        """Where the image was, whatever it was called; else where one was that was called so."""
        found = self._split_of.get(_of_image(image_sha256), self._split_of.get(_of_name(sample_id)))
        return None if found is None else SPLITS[found]

    def with_samples(self, split_of: Mapping[str, Split], images: Mapping[str, str]) -> "Remembered":
        """These and others, by their ids; a later split counts more. `images`: the hash of each one's image."""
        later = self._split_of | {_of_name(name): SPLITS.index(split) for name, split in split_of.items()}
        return Remembered(self.draw, later | {_of_image(images[name]): SPLITS.index(split) for name, split in split_of.items()})

    def write(self, folder: Path) -> None:
        keys = np.array(sorted(self._split_of), np.uint64)
        splits = np.array([self._split_of[int(key)] for key in keys], np.uint8)
        table = pd.DataFrame({"key": keys, "split": splits})
        table.attrs = dict(zip(("seed", "val", "test"), self.draw, strict=True))
        with atomic.file(folder / NAME) as partial:
            table.to_parquet(partial, index=False)


def read(folder: Path) -> Remembered | None:
    """What a dataset remembers; None if it does not.

    Raises:
        DatasetError: the file is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        table = pd.read_parquet(path)
        draw = int(table.attrs["seed"]), float(table.attrs["val"]), float(table.attrs["test"])
        return Remembered(draw, dict(zip(table["key"].tolist(), table["split"].tolist(), strict=True)))
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DatasetError(
            f"{path}: is damaged ({error}); restore it from the version before, e.g. with `dvc checkout`"
        ) from error


def _of_image(image_sha256: str) -> int:
    return int(image_sha256[:_DIGITS], 16)


def _of_name(sample_id: str) -> int:
    return _of_image(hashlib.sha256(f"id\0{sample_id}".encode()).hexdigest())
