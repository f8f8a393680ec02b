"""Which sample trains, validates and tests. A pure function of the groups' names, of which are alike, and of the seed.

A group's own draw depends on its name alone; groups that are alike (they have the same image, say) stand together: in the test set if
one of them was drawn for it, else in the validation set if one was drawn for that. So a dataset that grows moves no image out of the
test set, and what is alike never parts.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from segmodels.errors import DatasetError, ParamsError
from segmodels.samples import SPLITS, Sample, Split


def groups_of(samples: Sequence[Sample], pattern: str | None) -> dict[str, str]:
    """The group of every sample by its id: what the pattern's first parentheses match, else the dataset's, else the sample alone."""
    if pattern is None:
        return {sample.id: sample.group or sample.id for sample in samples}
    matches = {sample.id: re.search(pattern, sample.id) for sample in samples}
    unmatched = [name for name, match in matches.items() if match is None or match[1] is None]
    if unmatched:
        raise ParamsError(f"splits.group: {pattern!r} does not match {len(unmatched)} ids, e.g. {min(unmatched)!r}")
    return {name: match[1] for name, match in matches.items() if match is not None}


def are_given(samples: Sequence[Sample], method: str) -> bool:
    """Whether the dataset's lists decide: `method` is "given", or "auto" and there are any."""
    return method == "given" or (method == "auto" and any(sample.split is not None for sample in samples))


def assign(
    samples: Sequence[Sample],
    groups: Mapping[str, str],
    *,
    method: str,
    val: float,
    test: float,
    seed: int,
    alike: Iterable[tuple[str, str]] = (),
) -> dict[str, Split]:
    """The split of every sample by its id.

    Args:
        method: "given" takes the dataset's lists, "group" draws by group, "auto" takes lists where there are any.
        val, test: shares of the groups, where drawn.
        alike: ids of samples that must stand together, where drawn.

    Raises:
        DatasetError: a split would have no images, or lists are asked for and some samples are on none.
    """
    if are_given(samples, method):
        missing = [sample.id for sample in samples if sample.split is None]
        if missing:
            raise DatasetError(
                f"{len(missing)} of {len(samples)} samples are on no list, e.g. {min(missing)}; "
                f"list them or set splits.method: group"
            )
        splits = {sample.id: sample.split for sample in samples if sample.split is not None}
        _refuse_empty(splits, "the dataset's lists leave it out; add a list for it or set splits.method: group")
        return splits
    together = _together(set(groups.values()), [(groups[one], groups[other]) for one, other in alike])
    drawn = {group: _draw(group, val, test, seed) for group in together}
    side = {first: max((drawn[one] for one in members), key=_FIRST_COME.index) for first, members in _members(together).items()}
    splits = {name: side[together[group]] for name, group in groups.items()}
    largest = max(Counter(together.values()).values())
    remedy = _remedy(set(groups.values()), val, test)
    if largest > len(together) / 2:
        remedy = f"{largest} of {len(together)} groups look alike and stay together; set splits.near_duplicates: ignore"
    _refuse_empty(splits, remedy)
    return splits


def lacking(assigned: Mapping[str, Split], shown: Mapping[str, Collection[int]]) -> dict[int, list[Split]]:
    """The classes that are shown somewhere, but in no image of these splits.

    Args:
        shown: the classes of every image, by its id.
    """
    seen: dict[Split, set[int]] = {split: set() for split in SPLITS}
    for name, split in assigned.items():
        seen[split].update(shown[name])
    every = set[int]().union(*seen.values())
    found = {index: [split for split in SPLITS if index not in seen[split]] for index in sorted(every)}
    return {index: splits for index, splits in found.items() if splits}


_FIRST_COME: tuple[Split, ...] = ("train", "val", "test")
"""The later one wins where groups that are alike were drawn for several."""


def _together(groups: set[str], alike: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Of each group the first, by name, of all that it is alike with, over whichever others."""
    first = {group: group for group in groups}

    def root(group: str) -> str:
        while first[group] != group:
            first[group] = first[first[group]]
            group = first[group]
        return group

    for one, other in alike:
        low, high = sorted((root(one), root(other)))
        first[high] = low
    return {group: root(group) for group in groups}


def _members(together: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for group, first in together.items():
        found.setdefault(first, []).append(group)
    return found


def _draw(group: str, val: float, test: float, seed: int) -> Split:
    digest = hashlib.sha256(f"{seed}\0{group}".encode()).digest()
    position = int.from_bytes(digest[:8]) / 2**64  # uniform in [0, 1)
    return "test" if position < test else "val" if position < test + val else "train"


def _refuse_empty(splits: Mapping[str, Split], remedy: str) -> None:
    counts = Counter(splits.values())
    empty = [split for split in SPLITS if not counts[split]]
    if empty:
        raise DatasetError(f"the split {' and '.join(empty)} would have no images of {len(splits)}; {remedy}")


def _remedy(groups: set[str], val: float, test: float) -> str:
    for seed in range(1000):
        if {_draw(group, val, test, seed) for group in groups} == set(SPLITS):
            return f"splits.seed: {seed} would fill all three, or raise splits.val and splits.test"
    return f"there are only {len(groups)} groups: raise splits.val and splits.test, or label more scenes"
