"""What a schedule is told, and what it is."""

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Moment(NamedTuple):
    """Where a training is before a step."""

    step: int
    """Steps done."""
    total_steps: int
    steps_an_epoch: int
    scores: Sequence[float]
    """The validation mIoU of every epoch done."""


Schedule = Callable[[Moment], float]
