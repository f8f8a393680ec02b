"""Bring a person's dataset in: check every pair, then copy what belongs to it, all or nothing."""

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from segmodels import atomic
from segmodels.dataset import NOTED, Dataset, Noted, Progress, check_pairs, open_dataset, silent, within
from segmodels.errors import DatasetError
from segmodels.samples import Sample


@dataclass(frozen=True)
class Ingested:
    """What was brought in. `sizes` counts images by (height, width); `left_out` says what is wrong with the rest."""

    num_images: int
    num_classes: int
    sizes: Counter[tuple[int, int]]
    left_out: list[str]


def ingest(dataset: Dataset, destination: Path, *, quarantine: bool = False, progress: Progress[Sample] = silent) -> Ingested:
    """Check `dataset` and make `destination` a copy of it that knows its format; only a whole one replaces what was there before.

    Args:
        quarantine: leave out what is wrong, instead of refusing the dataset for it; the copy keeps the list.

    Raises:
        DatasetError: samples are unusable (all are listed), or files lie outside the dataset's folder.
    """
    source, target = dataset.root.resolve(), destination.resolve()
    if source == target or source in target.parents or target in source.parents:
        raise DatasetError(f"{dataset.root}: overlaps with {destination}, where it would be copied; keep the dataset elsewhere")
    sizes: Counter[tuple[int, int]] = Counter()
    sound, problems = [], list[str]()
    try:
        for sample, image, _ in check_pairs(dataset, progress):
            sizes[image.shape[:2]] += 1
            sound.append(sample)
    except DatasetError as error:
        if not quarantine:
            raise
        problems = error.problems
    if not sound:
        raise DatasetError(f"{dataset.root}: nothing in it can be used", problems)
    files = list(dict.fromkeys([*(path for sample in sound for path in sample.files), *dataset.notes]))  # samples may share one
    outside = [f"{path}: leads out of the folder, to {path.resolve()}" for path in files if source not in path.resolve().parents]
    if outside:
        raise DatasetError(f"{dataset.root}: {len(outside)} files lie elsewhere; copy them into the dataset", outside)
    left_out = [within(dataset.root, one) for one in problems]
    with atomic.folder(destination) as partial:
        for path in files:
            copy = partial / path.relative_to(dataset.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        noted = Noted(
            format=dataset.format,
            left_out=left_out,
            left_out_ids=sorted({one.id for one in dataset.samples} - {one.id for one in sound}),
        )
        atomic.write_json(partial / NOTED, noted.model_dump(exclude_defaults=True))
        if left_out:
            noted.left_out_here = _missing(partial, dataset)
            atomic.write_json(partial / NOTED, noted.model_dump(exclude_defaults=True))
    return Ingested(len(sound), len(dataset.classes), sizes, left_out)


def _missing(copy: Path, dataset: Dataset) -> list[str]:
    """What a copy of the sound samples alone lacks: its lists still name the others."""
    again = open_dataset(copy, format=dataset.format, task=dataset.task, classes=dataset.classes, tolerant=True)
    return [within(copy, one) for one in again.problems]
