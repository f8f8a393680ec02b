"""Stage `prepare`: check every pair, split, pack into memory-mapped shards. A second for a hundred small images."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial as partial_of
from pathlib import Path
from typing import Literal

from segmodels import assembly, atomic, census, duplicates, leaks, locks, packing, pictures, splits, store
from segmodels.dataset import Dataset, Progress, silent
from segmodels.duplicates import Fingerprint
from segmodels.errors import DatasetError
from segmodels.leaks import Leak, Placed
from segmodels.ledger import Ledger
from segmodels.samples import Sample, trained


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
        facts: the folder of `census.json` and `census.png`, what the dataset holds, for people.
        near_duplicates: whether images that look the same stay on one side of splits that are drawn; the same image always does.
        on_leak: what to do where the splits leak, as lists that are given may.
        processes: how many decode at once; as many as there are cores if None.
        notice: told each leak in a sentence.

    Raises:
        DatasetError: unusable pairs (all are listed), a split without images, masks with nothing to learn, or leaks that are not to be.
    """
    groups = splits.groups_of(dataset.samples, group_pattern)
    draw = partial_of(splits.assign, dataset.samples, groups, method=method, val=val, test=test, seed=seed)
    draw()  # what is wrong with them is said before any work
    with locks.held(kept / "lock"):
        made = packing.pack(dataset, ledger, kept, processes=processes, progress=progress)
        fingerprints = {row["id"]: Fingerprint.of_hashes(row["image_sha256"], row["look"]) for one in made for row in one.rows}
        names = sorted(fingerprints)
        pairs = duplicates.pairs([fingerprints[name] for name in names])
        alike = [(names[one], names[other]) for one, other, same in pairs if same or near_duplicates == "together"]
        places = {name: assembly.Place(split, groups[name]) for name, split in draw(alike=alike).items()}
        known = {sample.id for sample in dataset.samples if group_pattern is not None or sample.group is not None}
        found = leaks.find(
            [Placed(name, split, group if name in known else None, fingerprints[name]) for name, (split, group) in places.items()]
        )
        with atomic.folder(destination) as partial:
            assembly.write(partial, made, dataset.classes, dataset.task, places=places)
            _refuse_nothing_to_learn(store.Store(partial))
            _tell(found, on_leak, notice)
            atomic.write_json(partial / "leaks.json", [asdict(one) for one in found])
        packing.remove_others(made, kept)
    if facts is not None:
        counted = census.count(store.Store(destination))
        with atomic.folder(facts) as partial:
            atomic.write_json(partial / "census.json", counted.to_dict())
            pictures.census(partial / "census.png", counted)


LEAKS_TOLD = 12


def _tell(found: Sequence[Leak], on_leak: str, notice: Callable[[str], None]) -> None:
    remedy = "splits.method: group draws splits that keep a scene on one side"
    if found and on_leak == "error":
        raise DatasetError(
            f"the splits leak in {len(found)} places, and splits.on_leak is `error`; {remedy}", [str(one) for one in found]
        )
    for one in found[:LEAKS_TOLD]:
        notice(f"leak: {one}")
    if found:
        notice(f"the splits leak in {len(found)} places, scores come out too high; {remedy} (all are in leaks.json)")


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
