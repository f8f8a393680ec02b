"""Which sample trains, validates and tests. A pure function of the group's name and the seed.

Since no other sample has a say, a dataset that grows never moves an image out of the test set, and images of one group never part.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from segmodels.errors import DatasetError, ParamsError
from segmodels.samples import SPLITS, Sample, Split


def groups_of(samples: Sequence[Sample], pattern: str | None) -> dict[str, str]:
    """The group of every sample by its id: what the pattern's first parentheses match, else the dataset's, else the sample alone."""
    if pattern is None:
        return {sample.id: sample.group or sample.id for sample in samples}
    matches = {sample.id: re.search(pattern, sample.id) for sample in samples}
    unmatched = [name for name, match in matches.items() if match is None]
    if unmatched:
        raise ParamsError(f"splits.group: {pattern!r} does not match {len(unmatched)} ids, e.g. {min(unmatched)!r}")
    return {name: match[1] for name, match in matches.items() if match is not None}


def assign(
    samples: Sequence[Sample], groups: Mapping[str, str], *, method: str, val: float, test: float, seed: int
) -> dict[str, Split]:
    """The split of every sample by its id.

    Args:
        method: "given" takes the dataset's lists, "group" draws by group, "auto" takes lists where there are any.
        val, test: shares of the groups, where drawn.

    Raises:
        DatasetError: a split would have no images, or lists are asked for and some samples are on none.
    """
    listed = [sample for sample in samples if sample.split is not None]
    if method == "given" or (method == "auto" and listed):
        missing = [sample.id for sample in samples if sample.split is None]
        if missing:
            raise DatasetError(
                f"{len(missing)} of {len(samples)} samples are on no list, e.g. {min(missing)}; "
                f"list them or set splits.method: group"
            )
        splits = {sample.id: sample.split for sample in samples if sample.split is not None}
        _refuse_empty(splits, "the dataset's lists leave it out; add a list for it or set splits.method: group")
        return splits
    splits = {name: _draw(group, val, test, seed) for name, group in groups.items()}
    _refuse_empty(splits, _remedy(set(groups.values()), val, test))
    return splits


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
