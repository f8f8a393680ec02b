"""Which split every image of a dataset is in, remembered with it: as it grows nothing moves, and least of all out of the test set.

Which split something new comes into depends on the images alone; but what belongs together may come to light later, when two scenes turn
out to be one. Written into the dataset's copy as it is brought in, and so a part of each of its versions.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from segmodels import atomic
from segmodels.errors import DatasetError
from segmodels.samples import SPLITS, Split

NAME = "splits.parquet"
_DIGITS = 16
"""That are kept of an image's hash: of ten million images no two agree by chance."""

Draw = tuple[int, float, float]
"""What was asked for: the seed, and the shares of validation and test."""


class Remembered(Mapping[str, Split]):
    """The split of an image by its hash, of this version of the dataset or one before; all of one draw."""

    def __init__(self, draw: Draw, split_of: Mapping[int, int] | None = None) -> None:
        self.draw, self._split_of = draw, dict(split_of or {})

    def __getitem__(self, image_sha256: str) -> Split:
        return SPLITS[self._split_of[_key(image_sha256)]]

    def __iter__(self) -> "None":  # type: ignore[override]
        raise TypeError("only the first digits of hashes are kept")

    def __len__(self) -> int:
        return len(self._split_of)

    def with_images(self, split_of: Mapping[str, Split]) -> "Remembered":
        """These and others, by the hashes of images; a later split counts more."""
        return Remembered(self.draw, self._split_of | {_key(image): SPLITS.index(split) for image, split in split_of.items()})

    def write(self, folder: Path) -> None:
        keys = np.array(sorted(self._split_of), np.uint64)
        splits = np.array([self._split_of[int(key)] for key in keys], np.uint8)
        table = pd.DataFrame({"image": keys, "split": splits})
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
        return Remembered(draw, dict(zip(table["image"].tolist(), table["split"].tolist(), strict=True)))
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DatasetError(
            f"{path}: is damaged ({error}); restore it from the version before, e.g. with `dvc checkout`"
        ) from error


def _key(image_sha256: str) -> int:
    return int(image_sha256[:_DIGITS], 16)
