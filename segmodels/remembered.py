"""Which split every image of a dataset is in, remembered with it: as it grows nothing moves, and least of all out of the test set.

Which split something new comes into depends on the images alone; but what belongs together may come to light later, when two scenes turn
out to be one, and an image that is exported anew has other pixels and the same name. Written into the dataset's copy as it is brought
in, and so a part of each of its versions.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from segmodels import atomic
from segmodels.errors import DatasetError
from segmodels.samples import PARTS, Part, Split

NAME = "splits.parquet"
_DIGITS = 16
"""That are kept of a hash: of ten million images no two agree by chance."""


@dataclass(frozen=True)
class Splitting:
    """How splits are drawn, see splits.py."""

    method: str
    group_pattern: str | None
    val: float
    test: float
    seed: int
    near_duplicates: Literal["together", "ignore"]
    vault: float = 0.0

    @property
    def draw(self) -> tuple[int, float, float]:
        """What another of is another draw, from the start."""
        return self.seed, self.val, self.test


class Remembered:
    """The split of an image by its hash, and of a sample by its id, of this version of the dataset or one before; all of one draw.

    Attributes:
        splitting: how splits were drawn when the dataset was last brought in.
    """

    def __init__(self, splitting: Splitting, split_of: Mapping[int, int] | None = None) -> None:
        self.splitting, self._split_of = splitting, dict(split_of or {})

    def drawn_with(self, splitting: Splitting) -> "Remembered":
        """What still counts where splits are drawn so: another draw begins with nothing."""
        return Remembered(splitting, self._split_of if splitting.draw == self.splitting.draw else None)

    def part(self, image_sha256: str, sample_id: str) -> Part | None:
        """Where the image was, whatever it was called; else where one was that was called so."""
        found = self._split_of.get(_of_image(image_sha256), self._split_of.get(_of_name(sample_id)))
        return None if found is None else PARTS[found]

    def split(self, image_sha256: str, sample_id: str) -> Split | None:
        """The same where nobody asks which of what is tested is in the vault."""
        part = self.part(image_sha256, sample_id)
        return "test" if part == "vault" else part

    def with_samples(self, part_of: Mapping[str, Part], images: Mapping[str, str]) -> "Remembered":
        """These and others, by their ids; a later part counts more. `images`: the hash of each one's image."""
        later = self._split_of | {_of_name(name): PARTS.index(part) for name, part in part_of.items()}
        return Remembered(self.splitting, later | {_of_image(images[name]): PARTS.index(part) for name, part in part_of.items()})

    def write(self, folder: Path) -> None:
        keys = np.array(sorted(self._split_of), np.uint64)
        splits = np.array([self._split_of[int(key)] for key in keys], np.uint8)
        table = pd.DataFrame({"key": keys, "split": splits})
        table.attrs |= asdict(self.splitting)
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
        splits = table["split"]
        if len(splits) and not splits.between(0, len(PARTS) - 1).all():
            raise ValueError(f"it has a split {splits.max()}")
        return Remembered(
            Splitting(**{str(key): value for key, value in table.attrs.items()}),
            dict(zip(table["key"].tolist(), table["split"].tolist(), strict=True)),
        )
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DatasetError(
            f"{path}: is damaged ({error}); restore it from the version before, e.g. with `dvc checkout`"
        ) from error


def _of_image(image_sha256: str) -> int:
    return int(image_sha256[:_DIGITS], 16)


def _of_name(sample_id: str) -> int:
    return _of_image(hashlib.sha256(f"id\0{sample_id}".encode()).hexdigest())
