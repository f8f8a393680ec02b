"""What stands on two sides of a split: a scene, the same image, or all but the same. A score on such a test set is too good."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from segmodels.duplicates import Fingerprint, pairs
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
    """Every leak between two splits; images of a group that leaks are not told one by one."""
    counts = Counter((one.group, one.split) for one in placed if one.group is not None)
    leaks, leaking = list[Leak](), set[tuple[str, frozenset[Split]]]()
    for group in sorted({group for group, _ in counts if group is not None}):
        there = [split for split in SPLITS if counts[group, split]]
        for position, one in enumerate(there):
            for other in there[position + 1 :]:
                leaks.append(Leak("group", (one, other), (counts[group, one], counts[group, other]), group))
                leaking.add((group, frozenset((one, other))))
    for first, second, same in pairs([one.fingerprint for one in placed]):
        ordered = sorted((placed[first], placed[second]), key=lambda one: SPLITS.index(one.split))
        splits = ordered[0].split, ordered[1].split
        told = ordered[0].group == ordered[1].group and (str(ordered[0].group), frozenset(splits)) in leaking
        if splits[0] != splits[1] and not told:
            leaks.append(Leak("same" if same else "alike", splits, (1, 1), f"{ordered[0].id} and {ordered[1].id}"))
    return leaks
