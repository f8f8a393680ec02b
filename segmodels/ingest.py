"""Bring a person's dataset in: check every pair, then copy what belongs to it, all or nothing."""

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from segmodels import atomic
from segmodels.dataset import NOTED, Dataset, Progress, check_pairs, silent
from segmodels.errors import DatasetError
from segmodels.samples import Sample

BESIDE = (".json", ".csv", ".txt")
"""Files of these kinds at the dataset's top say what its images are, and come along."""


@dataclass(frozen=True)
class Ingested:
    """What was brought in. `sizes` counts images by (height, width)."""

    num_images: int
    num_classes: int
    sizes: Counter[tuple[int, int]]


def ingest(dataset: Dataset, destination: Path, *, progress: Progress[Sample] = silent) -> Ingested:
    """Check `dataset` and make `destination` a copy of it that knows its format; only a whole one replaces what was there before.

    Raises:
        DatasetError: pairs are unusable (all are listed) or files lie outside the dataset's folder.
    """
    source, target = dataset.root.resolve(), destination.resolve()
    if source == target or source in target.parents or target in source.parents:
        raise DatasetError(f"{dataset.root}: overlaps with {destination}, where it would be copied; keep the dataset elsewhere")
    sizes = Counter(image.shape[:2] for _, image, _ in check_pairs(dataset, progress))
    files = [path for sample in dataset.samples for path in (sample.image_path, *sample.mask_paths)]
    files += [path for path in sorted(dataset.root.iterdir()) if path.suffix.lower() in BESIDE and path.is_file()]
    outside = [f"{path}: leads out of the folder, to {path.resolve()}" for path in files if source not in path.resolve().parents]
    if outside:
        raise DatasetError(f"{dataset.root}: {len(outside)} files lie elsewhere; copy them into the dataset", outside)
    with atomic.folder(destination) as partial:
        for path in files:
            copy = partial / path.relative_to(dataset.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        atomic.write_json(partial / NOTED, {"format": dataset.format})
    return Ingested(len(dataset.samples), len(dataset.classes), sizes)
