"""What stands on two sides of a split: a scene, the same image, or all but the same. A score on such a test set is too good."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from segmodels.duplicates import Fingerprint, counterparts
from segmodels.samples import SPLITS, Split


@dataclass(frozen=True, slots=True)
class Placed:
    """An image and where it stands. `group` is None where nobody knows the scene."""

    id: str
    split: Split
    group: str | None
    fingerprint: Fingerprint


@dataclass(frozen=True)
class Leak:
    """Something on both sides.

    Attributes:
        kind: the same `group`, the `same` image, or one that is `alike`.
        num_images: in each of the two splits; of images 1 and 1.
        what: the group, or the ids of the two images.
    """

    kind: Literal["group", "same", "alike"]
    splits: tuple[Split, Split]
    num_images: tuple[int, int]
    what: str

    def __str__(self) -> str:
        (one, other), (first, second) = self.splits, self.num_images
        if self.kind == "group":
            return f"group {self.what} is in {one} ({first} images) and in {other} ({second})"
        return f"{self.what}: {'the same image' if self.kind == 'same' else 'images that look the same'} in {one} and {other}"


def find(placed: Sequence[Placed]) -> list[Leak]:
    """Every leak between two splits: groups, and images outside of them, each with one that it has in the other split."""
    counts = Counter((one.group, one.split) for one in placed if one.group is not None)
    leaks = list[Leak]()
    for group in sorted({group for group, _ in counts if group is not None}):
        there = [split for split in SPLITS if counts[group, split]]
        for position, one in enumerate(there):
            for other in there[position + 1 :]:
                leaks.append(Leak("group", (one, other), (counts[group, one], counts[group, other]), group))
    return [*leaks, *sorted(_of_images(placed), key=lambda leak: leak.kind != "same")]


def _of_images(placed: Sequence[Placed]) -> Iterator[Leak]:
    """What groups do not tell."""
    numbers: dict[str, int] = {}
    groups = [
        -1 - position if one.group is None else numbers.setdefault(one.group, len(numbers)) for position, one in enumerate(placed)
    ]
    sides = [SPLITS.index(one.split) for one in placed]
    for first, second, same in counterparts([one.fingerprint for one in placed], sides, groups):
        one, other = placed[first], placed[second]
        yield Leak("same" if same else "alike", (one.split, other.split), (1, 1), f"{one.id} and {other.id}")
