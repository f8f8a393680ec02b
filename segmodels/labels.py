"""What a mask's values and a network's logits say, in each of the three tasks.

Masks are H x W uint8 in all of them, so that everything which moves pixels treats them alike. For `multiclass` and `binary` a value is
the index of the pixel's class. For `multilabel`, where classes overlap, it is a row of a table: which classes the pixel has.

A *labelling* is what comes out of either: class indices, ... x H x W, or, where classes overlap, 0 and 1 by class, ... x C x H x W;
IGNORE_INDEX where nobody knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from segmodels.samples import IGNORE_INDEX, Task, UInt8Array, num_logits


def decide(logits_BCHW: Tensor, task: Task, thresholds: Sequence[float] | None = None) -> Tensor:
    """The most probable labelling, uint8: B x H x W, for `multilabel` B x C x H x W.

    Args:
        thresholds: of each logit, how probable it must be to count, where classes do not exclude each other; one half if None.
    """
    if task == "multiclass":
        return logits_BCHW.max(dim=1).indices.to(torch.uint8)  # a quarter of the time that argmax takes on a CPU
    limits = torch.tensor(thresholds or [0.5] * logits_BCHW.shape[1], device=logits_BCHW.device).logit()
    yes_BCHW = (logits_BCHW > limits[:, None, None]).to(torch.uint8)
    return yes_BCHW[:, 0] if task == "binary" else yes_BCHW


def confidence(logits_BCHW: Tensor, labelling: Tensor, task: Task) -> Tensor:
    """How probable each label of a labelling is, float32, of its shape."""
    scores = logits_BCHW.float()
    if task == "multiclass":
        return (scores.amax(dim=1) - scores.logsumexp(dim=1)).exp()
    yes = (scores[:, 0] if task == "binary" else scores).sigmoid()
    return torch.where(labelling == 1, yes, 1 - yes)


def probabilities(logits_BCHW: Tensor, task: Task) -> Tensor:
    """How probable each class is, B x C x H x W float32; both of them where there are two."""
    scores = logits_BCHW.float()
    if task == "multiclass":
        return scores.softmax(dim=1)
    yes = scores.sigmoid()
    return torch.cat([1 - yes, yes], dim=1) if task == "binary" else yes


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

    def of(self, mask: Tensor) -> Tensor:
        """The labelling of masks, ... x H x W uint8."""
        if not self.overlap:
            return mask
        return _table(self.sets, self.num_classes, mask.device)[mask.int()].movedim(-1, -3)

    def of_array(self, mask: UInt8Array) -> UInt8Array:
        """The labelling of one mask, H x W."""
        return self.of(torch.from_numpy(np.array(mask))).numpy()


@cache
def _table(sets: tuple[tuple[int, ...], ...], num_classes: int, device: torch.device) -> Tensor:
    """256 x C; kept on the device, as every step looks it up."""
    table = torch.full((256, num_classes), IGNORE_INDEX, dtype=torch.uint8)
    table[: len(sets)] = torch.tensor(sets, dtype=torch.uint8)
    return table.to(device)
