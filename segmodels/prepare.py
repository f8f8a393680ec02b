"""Stage `prepare`: check every pair, split, pack into memory-mapped shards. A second for a hundred small images."""

from collections.abc import Iterator
from pathlib import Path

from segmodels import atomic, splits, store
from segmodels.dataset import Dataset, Progress, check_pairs, silent
from segmodels.errors import DatasetError
from segmodels.samples import Sample, trained


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
        DatasetError: unusable pairs (all are listed), a split without images, or masks with nothing to learn.
    """
    groups = splits.groups_of(dataset.samples, group_pattern)
    split_of = splits.assign(dataset.samples, groups, method=method, val=val, test=test, seed=seed)

    def packed() -> Iterator[store.Packed]:
        for sample, image, labelling in check_pairs(dataset, progress):
            yield store.Packed(sample.id, split_of[sample.id], groups[sample.id], image, labelling)

    with atomic.folder(destination) as partial:
        store.write(partial, packed(), dataset.classes, dataset.task)
        _refuse_nothing_to_learn(store.Store(partial))


def _refuse_nothing_to_learn(prepared: store.Store) -> None:
    """A class that no mask shows yet may come with later labels; but if nothing can be told from anything, the masks are wrong."""
    training = prepared.manifest[prepared.manifest["split"] == "train"]
    names = [one.name for one in trained(prepared.classes)]
    found = [name for index, name in enumerate(names) if training[f"pixels_{index}"].sum() > 0]
    if len(found) < (1 if prepared.labels.overlap else 2):
        listed = ", ".join(f"{one.name} = {one.value}" for one in prepared.classes)
        ids = f"the ids of the classes ({listed}) against the values in the masks (255 is void unless a class has that id)"
        raise DatasetError(
            f"the training masks show {f'only {found[0]}' if found else 'no class at all'} of {', '.join(names)}: there is nothing to "
            f"learn; check {'that they hold 255 where a class is' if prepared.labels.overlap else ids}"
        )
    for split in ("val", "test"):
        rows = prepared.manifest[prepared.manifest["split"] == split]
        if not any(rows[f"pixels_{index}"].sum() > 0 for index in range(len(names))):
            raise DatasetError(
                f"none of the {len(rows)} masks of the split {split} shows any of {', '.join(names)}: there is nothing to score; "
                f"label more, choose another splits.seed, or raise splits.{split}"
            )
