"""Bring a person's dataset in: check every pair, then copy what belongs to it, all or nothing."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from segmodels import atomic, digests
from segmodels.dataset import NOTED, Dataset, Noted, open_dataset, within
from segmodels.errors import DatasetError
from segmodels.examination import examine
from segmodels.ledger import Ledger
from segmodels.pairs import Facts
from segmodels.samples import Sample
from segmodels.watching import Progress, silent


@dataclass(frozen=True)
class Ingested:
    """What was brought in. `sizes` counts images by (height, width); `left_out` says what is wrong with the rest."""

    num_images: int
    num_classes: int
    sizes: Counter[tuple[int, int]]
    left_out: list[str]


def ingest(
    dataset: Dataset,
    destination: Path,
    *,
    ledger: Ledger,
    quarantine: bool = False,
    processes: int | None = None,
    progress: Progress[tuple[Sample, Facts | str]] = silent,
) -> Ingested:
    """Check `dataset` and make `destination` a copy of it that knows its format; only a whole one replaces what was there before.

    Args:
        ledger: of what was looked at before: pairs that have not changed since are not decoded again.
        quarantine: leave out what is wrong, instead of refusing the dataset for it; the copy keeps the list.

    Raises:
        DatasetError: samples are unusable (all are listed), or files lie outside the dataset's folder.
    """
    source, target = dataset.root.resolve(), destination.resolve()
    if source == target or source in target.parents or target in source.parents:
        raise DatasetError(f"{dataset.root}: overlaps with {destination}, where it would be copied; keep the dataset elsewhere")
    before = ledger.digests(path for sample in dataset.samples for path in sample.files)
    sizes: Counter[tuple[int, int]] = Counter()
    sound, problems = [], list[str]()
    try:
        for sample, facts in examine(dataset, ledger, processes=processes, progress=progress):
            sizes[facts.height, facts.width] += 1
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
    noted = Noted(
        format=dataset.format,
        left_out=left_out,
        left_out_ids=sorted({one.id for one in dataset.samples} - {one.id for one in sound}),
    )
    copies = {path.relative_to(dataset.root): path for path in files}
    ingested = Ingested(len(sound), len(dataset.classes), sizes, left_out)
    same = _unchanged(copies, destination, ledger)
    changed = list[str]()
    if not left_out and len(same) == len(copies) and _is_copy(destination, copies, noted):
        return ingested
    with atomic.folder(destination) as partial:
        for inside, path in copies.items():
            (partial / inside).parent.mkdir(parents=True, exist_ok=True)
            if inside in same:
                os.link(destination / inside, partial / inside)
            else:
                shutil.copyfile(path, partial / inside)
            now = same[inside] if inside in same else digests.of_file(partial / inside)
            if now != before.get(path, now):  # of the samples' files, which were looked at
                changed.append(f"{path}: was changed while it was read; bring the dataset in again when nobody writes to it")
        if changed:
            raise DatasetError(f"{dataset.root}: {len(changed)} files were changed meanwhile, nothing was written", changed)
        _note(noted, partial)
        if left_out:
            noted.left_out_here = _missing(partial, dataset)
            _note(noted, partial)
    return ingested


def _unchanged(copies: Mapping[Path, Path], destination: Path, ledger: Ledger) -> dict[Path, str]:
    """The hashes of the files that the last copy has already, by their paths in it."""
    there = ledger.digests(destination / inside for inside in copies if not (destination / inside).is_symlink())
    new = ledger.digests(path for inside, path in copies.items() if destination / inside in there)
    return {inside: new[path] for inside, path in copies.items() if path in new and there[destination / inside] == new[path]}


def _is_copy(destination: Path, copies: Mapping[Path, Path], noted: Noted) -> bool:
    """Whether the last copy has these files and no others, and says the same of them."""
    there = {path.relative_to(destination) for path in destination.rglob("*") if not path.is_dir()}
    return there == {*copies, Path(NOTED)} and (destination / NOTED).read_text(encoding="utf-8") == _noted_text(noted)


def _note(noted: Noted, folder: Path) -> None:
    atomic.write_text(folder / NOTED, _noted_text(noted))


def _noted_text(noted: Noted) -> str:
    return json.dumps(noted.model_dump(exclude_defaults=True), indent=2, ensure_ascii=False) + "\n"


def _missing(copy: Path, dataset: Dataset) -> list[str]:
    """What a copy of the sound samples alone lacks: its lists still name the others."""
    again = open_dataset(copy, format=dataset.format, task=dataset.task, classes=dataset.classes, tolerant=True)
    return [within(copy, one) for one in again.problems]
