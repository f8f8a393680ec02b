"""Stage `prepare`: check every pair, split, pack into memory-mapped shards. A second for a hundred small images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial as partial_of
from pathlib import Path
from typing import Literal

import numpy as np

from segmodels import assembly, atomic, census, duplicates, leaks, locks, packing, pictures, splits, store, suspects
from segmodels.dataset import Dataset
from segmodels.duplicates import Fingerprint
from segmodels.errors import DatasetError
from segmodels.images import colored, overlay
from segmodels.leaks import Leak, Placed
from segmodels.ledger import Ledger
from segmodels.samples import Sample, Split, trained
from segmodels.suspects import Labelled, Suspect
from segmodels.watching import Progress, silent


def prepare(
    dataset: Dataset,
    destination: Path,
    *,
    ledger: Ledger,
    kept: Path,
    facts: Path | None = None,
    method: str,
    group_pattern: str | None,
    val: float,
    test: float,
    seed: int,
    near_duplicates: Literal["together", "ignore"] = "together",
    on_leak: Literal["report", "error"] = "report",
    processes: int | None = None,
    progress: Progress[Sample] = silent,
    notice: Callable[[str], None] = lambda _: None,
) -> None:
    """Write the store of a dataset to `destination`, whole or not at all; `leaks.json` in it says what is on two sides of its splits.

    Args:
        ledger: of what was looked at before.
        kept: the folder of what was packed before: what has not changed since is not packed again.
        facts: the folder for people: `census.json` and `census.png`, what the dataset holds, `suspects.json` and `suspects.png`, which
            labels may be wrong.
        near_duplicates: whether images that look the same stay on one side of splits that are drawn; the same image always does.
        on_leak: what to do where the splits leak, as lists that are given may.
        processes: how many decode at once; as many as there are cores if None.
        notice: told leaks and doubtful labels, a sentence each.

    Raises:
        DatasetError: unusable pairs (all are listed), a split without images, masks with nothing to learn, or leaks that are not to be.
    """
    groups = splits.groups_of(dataset.samples, group_pattern)
    draw = partial_of(splits.assign, dataset.samples, groups, method=method, val=val, test=test)
    draw(seed=seed)  # what is wrong with them is said before any work
    with locks.held(kept / "lock"):
        made = packing.pack(dataset, ledger, kept, processes=processes, progress=progress)
        fingerprints, labelled, shown = dict[str, Fingerprint](), list[Labelled](), dict[str, list[int]]()
        for shard in made:
            for row in shard.rows():
                fingerprints[row.id] = row.facts.fingerprint
                labelled.append(row.facts.labelled(row.id))
                shown[row.id] = [index for index, pixels in enumerate(row.facts.pixels) if pixels]
        names, pairs = list(fingerprints), duplicates.pairs(list(fingerprints.values()))
        alike = [(names[one], names[other]) for one, other, same in pairs if same or near_duplicates == "together"]
        assigned = draw(seed=seed, alike=alike)
        places = {name: assembly.Place(split, groups[name]) for name, split in assigned.items()}
        grouped = {sample.id for sample in dataset.samples if group_pattern is not None or sample.group is not None}
        leaking = leaks.find(
            [
                Placed(name, split, group if name in grouped else None, fingerprints[name])
                for name, (split, group) in places.items()
            ]
        )
        with atomic.folder(destination) as partial:
            assembly.write(partial, made, dataset.classes, dataset.task, places=places)
            _refuse_nothing_to_learn(store.Store(partial))
            _tell_lacking(dataset, assigned, shown, partial_of(draw, alike=alike), method, notice)
            _tell_leaks(leaking, on_leak, notice)
            atomic.write_json(partial / "leaks.json", [asdict(one) for one in leaking])
        packing.remove_others(made, kept)
    if facts is not None:
        _write_facts(store.Store(destination), suspects.find(labelled), facts, notice)


def _write_facts(prepared: store.Store, doubtful: Sequence[Suspect], folder: Path, notice: Callable[[str], None]) -> None:
    """What the dataset holds, and which of its labels may be wrong: for people."""
    counted = census.count(prepared)
    with atomic.folder(folder) as partial:
        atomic.write_json(partial / "census.json", counted.to_dict())
        pictures.census(partial / "census.png", counted)
        atomic.write_json(partial / "suspects.json", [asdict(one) for one in doubtful])
        if doubtful:
            _draw(prepared, doubtful[:SUSPECTS_DRAWN], partial / "suspects.png")
    for one in doubtful[:SUSPECTS_TOLD]:
        notice(f"label to look at: {one}")
    if doubtful:
        notice(f"{len(doubtful)} labels may be wrong; {folder}/suspects.png shows them, suspects.json lists all")


def _draw(prepared: store.Store, doubtful: Sequence[Suspect], path: Path) -> None:
    row_of = {str(name): row for row, name in enumerate(prepared.manifest["id"])}
    cells = []
    for one in doubtful:
        image, labelling = np.array(prepared.image(row_of[one.id])), prepared.labelling(row_of[one.id])
        cells.append([image, colored(labelling, prepared.classes), overlay(image, labelling, prepared.classes)])
    names = [f"{one.id}\n{'one class' if one.fit is None else f'fit {one.fit:.1f}'}" for one in doubtful]
    pictures.sheet(path, cells, titles=["image", "labels", "both"], names=names, classes=prepared.classes)


SUSPECTS_TOLD, SUSPECTS_DRAWN = 5, 24
LEAKS_TOLD, SEEDS_TRIED = 12, 50


def _tell_leaks(found: Sequence[Leak], on_leak: str, notice: Callable[[str], None]) -> None:
    remedy = "splits.method: group draws splits that keep a scene on one side"
    if found and on_leak == "error":
        raise DatasetError(
            f"the splits leak in {len(found)} places, and splits.on_leak is `error`; {remedy}", [str(one) for one in found]
        )
    for one in found[:LEAKS_TOLD]:
        notice(f"leak: {one}")
    if found:
        notice(f"the splits leak in {len(found)} places, scores come out too high; {remedy} (all are in leaks.json)")


def _tell_lacking(
    dataset: Dataset,
    assigned: Mapping[str, Split],
    shown: Mapping[str, Sequence[int]],
    draw: Callable[..., dict[str, Split]],
    method: str,
    notice: Callable[[str], None],
) -> None:
    """Say which classes a split does not show, and the seed with which each would show all.

    Splits are not drawn until all classes are everywhere: then a new image could move another out of the test set.
    """
    names = [one.name for one in trained(dataset.classes)]
    lacking = splits.lacking(assigned, shown)
    for index, without in lacking.items():
        used = {"train": "learned", "val": "looked at while it is trained", "test": "scored"}
        notice(
            f"{names[index]} is in no image of {' and '.join(without)}: it is not {', nor '.join(used[one] for one in without)}"
        )
    if lacking and not splits.are_given(dataset.samples, method):
        found = next((seed for seed in range(SEEDS_TRIED) if not _lacks(draw, seed, shown)), None)
        if found is not None:
            notice(f"splits.seed: {found} has every class in every split; to be chosen before the test set is relied on")


def _lacks(draw: Callable[..., dict[str, Split]], seed: int, shown: Mapping[str, Sequence[int]]) -> bool:
    try:
        return bool(splits.lacking(draw(seed=seed), shown))
    except DatasetError:  # a split would have no images
        return True


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
