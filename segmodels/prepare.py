"""Stage `prepare`: check every pair, split, pack into memory-mapped shards. A second for a hundred small images."""

from collections.abc import Iterator
from pathlib import Path

from segmodels import atomic, splits, store
from segmodels.dataset import Dataset, Progress, check_pairs, silent
from segmodels.samples import Sample


def prepare(
    dataset: Dataset,
    destination: Path,
    *,
    method: str,
    group_pattern: str | None,
    val: float,
    test: float,
    seed: int,
    progress: Progress[Sample] = silent,
) -> None:
    """Write the store of a dataset to `destination`, whole or not at all.

    Raises:
        DatasetError: unusable pairs (all are listed), or a split without images.
    """
    groups = splits.groups_of(dataset.samples, group_pattern)
    split_of = splits.assign(dataset.samples, groups, method=method, val=val, test=test, seed=seed)

    def packed() -> Iterator[store.Packed]:
        for sample, image, mask in check_pairs(dataset, progress):
            yield store.Packed(sample.id, split_of[sample.id], groups[sample.id], image, mask)

    with atomic.folder(destination) as partial:
        store.write(partial, packed(), dataset.classes)
