"""What a mask's values say, in each of the three tasks; what a network's logits do: logits.py.

Masks are H x W uint8 in all of them, so that everything which moves pixels treats them alike. For `multiclass` and `binary` a value is
the index of the pixel's class. For `multilabel`, where classes overlap, it is a row of a table: which classes the pixel has.

A *labelling* is what comes out of either: class indices, ... x H x W, or, where classes overlap, 0 and 1 by class, ... x C x H x W;
IGNORE_INDEX where nobody knows.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from segmodels.samples import IGNORE_INDEX, Task, UInt8Array, num_logits


@dataclass(frozen=True)
class Labels:
    """What the values of a dataset's masks stand for. `sets` is the table of `multilabel`: rows of 0, 1 and IGNORE_INDEX by class."""

    task: Task
    num_classes: int
    sets: tuple[tuple[int, ...], ...] = ()

    @property
    def overlap(self) -> bool:
        return self.task == "multilabel"

    @property
    def num_logits(self) -> int:
        return num_logits(self.task, self.num_classes)

    def of_array(self, mask: UInt8Array) -> UInt8Array:
        """The labelling of masks, ... x H x W."""
        if not self.overlap:
            return np.array(mask)
        labelling: UInt8Array = np.moveaxis(self.table[mask], -1, -3)
        return labelling

    @cached_property
    def table(self) -> UInt8Array:
        """Of every value of a mask what is known of each class, 256 x C, where classes overlap."""
        table = np.full((256, self.num_classes), IGNORE_INDEX, np.uint8)
        table[: len(self.sets)] = self.sets
        return table
