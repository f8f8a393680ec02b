"""Bring a person's dataset in: check every pair, then copy what belongs to it, all or nothing."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segmodels import atomic, digests, placement, remembered, splits
from segmodels.dataset import NOTED, Dataset, Inside, Noted, open_dataset, within
from segmodels.duplicates import Fingerprint
from segmodels.errors import DatasetError, InputError
from segmodels.examination import examine
from segmodels.ledger import Ledger
from segmodels.pairs import Facts
from segmodels.remembered import Remembered, Splitting
from segmodels.samples import Sample
from segmodels.watching import Progress, silent


@dataclass(frozen=True)
class Ingested:
    """What was brought in.

    Attributes:
        sizes: counts images by (height, width).
        left_out: what is wrong with the rest.
        num_gone: how many files the copy before had that this one has not.
    """

    num_images: int
    num_classes: int
    sizes: Counter[tuple[int, int]]
    left_out: list[str]
    num_gone: int


def ingest(
    dataset: Dataset,
    destination: Path,
    *,
    ledger: Ledger,
    splitting: Splitting | None = None,
    quarantine: bool = False,
    processes: int | None = None,
    progress: Progress[tuple[Sample, Facts | str]] = silent,
) -> Ingested:
    """Check `dataset` and make `destination` a copy of it that knows its format; only a whole one replaces what was there before.

    Args:
        ledger: of what was looked at before: pairs that have not changed since are not decoded again.
        splitting: how splits are drawn: where each image is put is remembered in the copy, and stays so as the dataset grows.
        quarantine: leave out what is wrong, instead of refusing the dataset for it; the copy keeps the list.

    Raises:
        DatasetError: samples are unusable (all are listed), or files lie outside the dataset's folder.
    """
    source, target = dataset.root.resolve(), destination.resolve()
    if source == target or source in target.parents or target in source.parents:
        raise DatasetError(f"{dataset.root}: overlaps with {destination}, where it would be copied; keep the dataset elsewhere")
    hashes = ledger.digests([*dataset.files, *dataset.notes])
    sizes: Counter[tuple[int, int]] = Counter()
    sound, problems = [], list[str]()
    fingerprints: dict[str, Fingerprint] = {}
    shown: dict[str, list[int]] = {}
    try:
        for sample, facts in examine(dataset, ledger, hashes, processes=processes, progress=progress):
            sizes[facts.height, facts.width] += 1
            sound.append(sample)
            fingerprints[sample.id], shown[sample.id] = facts.fingerprint, facts.classes
    except DatasetError as error:
        if not quarantine:
            raise
        problems = error.problems
    if not sound:
        raise DatasetError(f"{dataset.root}: nothing in it can be used", problems)
    copies = _to_be_copied(dataset, sound)
    left_out = [within(dataset.root, one) for one in problems]
    noted = Noted(
        format=dataset.format,
        left_out=left_out,
        left_out_ids=sorted({one.id for one in dataset.samples} - {one.id for one in sound}),
    )
    there = _files(destination)
    gone = _gone(there, copies, destination, dataset.root)
    ingested = Ingested(len(sound), len(dataset.classes), sizes, left_out, len(gone))
    same = _unchanged(copies, hashes, destination, there, ledger)
    before = remembered.read(destination)
    is_remembered = splitting is None or (before is not None and before.splitting == splitting)
    if len(same) == len(copies) and is_remembered and _is_copy(destination, there, copies, noted):
        return ingested
    now = None if splitting is None else _placed(sound, fingerprints, shown, splitting, before)
    with atomic.folder(destination) as partial:
        changed = _copy(copies, partial, hashes, kept=destination, same=same)
        if changed:
            raise DatasetError(f"{dataset.root}: {len(changed)} files were changed meanwhile, nothing was written", changed)
        _note(noted, partial)
        if now is not None:
            now.write(partial)
        if left_out:
            noted.left_out_here = _missing(partial, dataset)
            _note(noted, partial)
    return ingested


def _to_be_copied(dataset: Dataset, samples: Sequence[Sample]) -> dict[Path, Path]:
    """The files of these samples and the dataset's notes, by where they lie in it.

    Raises:
        DatasetError: some lie outside its folder.
    """
    files = list(dict.fromkeys([*(path for sample in samples for path in sample.files), *dataset.notes]))  # samples may share one
    lies_inside = Inside(dataset.root.resolve())
    outside = [lies_inside.told(path) for path in files if not lies_inside(path)]
    if outside:
        raise DatasetError(f"{dataset.root}: {len(outside)} files lie elsewhere; copy them into the dataset", outside)
    return {path.relative_to(dataset.root): path for path in files}


def _copy(
    copies: Mapping[Path, Path], into: Path, hashes: Mapping[Path, str], *, kept: Path, same: Collection[Path]
) -> list[str]:
    """Copy files, and link those that are the `same` in the folder `kept`. Returns what is wrong with those that were changed since."""
    changed = []
    for inside, path in copies.items():
        (into / inside).parent.mkdir(parents=True, exist_ok=True)
        if inside in same:
            os.link(kept / inside, into / inside)
        else:
            shutil.copyfile(path, into / inside)
            if digests.of_file(into / inside) != hashes.get(path):
                changed.append(f"{path}: was changed while it was read; bring the dataset in again when nobody writes to it")
    return changed


def _gone(there: Collection[str], copies: Collection[Path], destination: Path, source: Path) -> list[str]:
    """The files of the last copy that the source has no more; what is left out for a fault is still there."""
    stays = {str(destination / inside) for inside in (*copies, Path(NOTED), Path(remembered.NAME))}
    return [path for path in there if path not in stays and not (source / Path(path).relative_to(destination)).exists()]


def _placed(
    samples: Sequence[Sample],
    fingerprints: Mapping[str, Fingerprint],
    shown: Mapping[str, list[int]],
    splitting: Splitting,
    before: Remembered | None,
) -> Remembered:
    """Where every image is put, and was; only what was where nothing is drawn, or cannot be yet."""
    known = Remembered(splitting) if before is None else before.drawn_with(splitting)
    if splits.are_given(samples, splitting.method):
        return known
    images = {name: one.pixels for name, one in fingerprints.items()}
    # under a new seed what was there has been drawn by itself, and may have been tested since
    there = [one for one in samples if before is not None and before.split(images[one.id], one.id) is not None]
    try:
        for some in (there, samples):
            if some:
                groups = splits.groups_of(some, splitting.group_pattern)
                alike = placement.linked({one.id: fingerprints[one.id] for one in some}, splitting.near_duplicates)
                drawn = splits.assign(
                    some,
                    groups,
                    method=splitting.method,
                    val=splitting.val,
                    test=splitting.test,
                    seed=splitting.seed,
                    images=images,
                    shown=shown,
                    alike=alike,
                    remembered=known,
                )
                parts = splits.with_vault(
                    drawn,
                    splits.scenes(groups, alike),
                    splitting.vault,
                    splitting.seed,
                    images=images,
                    remembered=known if some is samples else before,
                )
                known = known.with_samples(parts, images)
    except InputError:  # a split would have no images yet, or a group no name: that is said where they are needed
        return known
    return known


def _files(folder: Path) -> dict[str, Literal["file", "link"]]:
    """What lies in a folder and below, by its path."""
    found: dict[str, Literal["file", "link"]] = {}
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for one in entries:
                if one.is_dir(follow_symlinks=False):
                    found |= _files(Path(one.path))
                else:
                    found[one.path] = "link" if one.is_symlink() else "file"
    return found


def _unchanged(
    copies: Mapping[Path, Path], hashes: Mapping[Path, str], destination: Path, there: Mapping[str, str], ledger: Ledger
) -> set[Path]:
    """Which files the last copy has already, by their paths in it."""
    paths = {destination / inside: inside for inside in copies}
    found = ledger.digests(path for path in paths if there.get(str(path)) == "file")
    return {paths[path] for path, digest in found.items() if digest == hashes.get(copies[paths[path]])}


def _is_copy(destination: Path, there: Mapping[str, str], copies: Mapping[Path, Path], noted: Noted) -> bool:
    """Whether the last copy has these files and no others, and says the same of them."""
    expected = {str(destination / inside) for inside in (*copies, Path(NOTED))}
    if there.keys() - {str(destination / remembered.NAME)} != expected:
        return False
    try:
        before = Noted.model_validate_json((destination / NOTED).read_bytes())
    except ValueError:  # damaged: it is written anew
        return False
    return before == noted.model_copy(update={"left_out_here": before.left_out_here})


def _note(noted: Noted, folder: Path) -> None:
    atomic.write_text(folder / NOTED, _noted_text(noted))


def _noted_text(noted: Noted) -> str:
    return json.dumps(noted.model_dump(exclude_defaults=True), indent=2, ensure_ascii=False) + "\n"


def _missing(copy: Path, dataset: Dataset) -> list[str]:
    """What a copy of the sound samples alone lacks: its lists still name the others."""
    again = open_dataset(
        copy, format=dataset.format, task=dataset.task, classes=dataset.classes, kind=dataset.kind, tolerant=True
    )
    return [within(copy, one) for one in again.problems]
