"""The table that masks of overlapping classes point into: which classes each combination has."""

from collections.abc import Sequence

import numpy as np

from segmodels.errors import DatasetError
from segmodels.samples import IGNORE_INDEX, UInt8Array

MAX_SETS = 255
"""How many different combinations uint8 masks can hold, one value being void."""

Set = tuple[int, ...]
"""By class 1, 0, or IGNORE_INDEX where nobody knows."""


class SetTable:
    """Numbers the combinations of overlapping classes as they are met."""

    def __init__(self) -> None:
        self._number_of: dict[Set, int] = {}

    @property
    def sets(self) -> tuple[Set, ...]:
        return tuple(self._number_of)

    def mask(self, labelling_CHW: UInt8Array) -> UInt8Array:
        """The mask, H x W, that stands for a labelling.

        Raises:
            DatasetError: more combinations than a mask can hold.
        """
        num_classes, height, width = labelling_CHW.shape
        found, inverse = np.unique(labelling_CHW.reshape(num_classes, -1), axis=1, return_inverse=True)
        numbers = np.array([self._number(tuple(column)) for column in found.T.tolist()], np.uint8)
        return numbers[inverse.reshape(height, width)]

    def add(self, labels: Set) -> None:
        """Have a combination among the next.

        Raises:
            DatasetError: more combinations than a mask can hold.
        """
        self._number(labels)

    def renumbered(self, sets: Sequence[Set]) -> UInt8Array:
        """The values here for the values of another table, 256 of them."""
        values = np.full(256, IGNORE_INDEX, np.uint8)
        values[: len(sets)] = [self._number(one) for one in sets]
        return values

    def _number(self, labels: Set) -> int:
        if all(label == IGNORE_INDEX for label in labels):
            return IGNORE_INDEX
        number = self._number_of.setdefault(labels, len(self._number_of))
        if number >= MAX_SETS:
            raise DatasetError(
                f"classes overlap in more than {MAX_SETS} different combinations; list fewer classes, or merge such as often meet"
            )
        return number
