"""Stage `prepare`: check every pair, split, pack into memory-mapped shards. A second for a hundred small images."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from segmodels import assembly, atomic, locks, packing, placement, portrait, remembered, splits, suspects
from segmodels.dataset import Dataset
from segmodels.ledger import Ledger
from segmodels.placement import Seen
from segmodels.samples import Sample
from segmodels.store import Store
from segmodels.suspects import Suspect
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
    vault: float = 0.0,
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
        vault: the share of the test scenes that no score sees, see gate.py.
        near_duplicates: whether images that look the same stay on one side of splits that are drawn; the same image always does.
        on_leak: what to do where the splits leak, as lists that are given may.
        processes: how many decode at once; as many as there are cores if None.
        notice: told leaks and doubtful labels, a sentence each.

    Raises:
        DatasetError: unusable pairs (all are listed), a split without images, masks with nothing to learn, or leaks that are not to be.
    """
    doubtful = _write(
        dataset,
        destination,
        ledger,
        kept,
        on_leak=on_leak,
        processes=processes,
        progress=progress,
        notice=notice,
        group_pattern=group_pattern,
        near_duplicates=near_duplicates,
        shares={"method": method, "val": val, "test": test, "seed": seed},
        vault=vault,
    )
    if facts is not None:
        portrait.draw(Store(destination), doubtful, facts, notice=notice)


def _write(
    dataset: Dataset,
    destination: Path,
    ledger: Ledger,
    kept: Path,
    *,
    on_leak: Literal["report", "error"],
    processes: int | None,
    progress: Progress[Sample],
    notice: Callable[[str], None],
    group_pattern: str | None,
    near_duplicates: Literal["together", "ignore"],
    shares: dict[str, Any],
    vault: float,
) -> list[Suspect]:
    """Write the store; returns which labels may be wrong. Of a large dataset this alone takes memory, which ends with it."""
    groups = splits.groups_of(dataset.samples, group_pattern)
    if shares["method"] == "given":
        splits.given(dataset.samples)  # what is wrong with them is said before any work
    with locks.held(kept / "lock"):
        made = packing.pack(dataset, ledger, kept, processes=processes, progress=progress)
        seen = Seen.of(made)
        before = remembered.read(dataset.root)
        placed = placement.place(
            dataset.samples,
            seen.fingerprints,
            shown=seen.classes,
            groups=groups,
            has_groups=group_pattern is not None,
            near_duplicates=near_duplicates,
            remembered=before,
            notice=notice,
            **shares,
        )
        images = {name: one.pixels for name, one in seen.fingerprints.items()}
        parts = splits.with_vault(placed.splits, placed.scenes, vault, shares["seed"], images=images, remembered=before)
        splits.refuse_vault_of_all_or_nothing(parts, placed.scenes, vault)
        vaulted = {name for name, part in parts.items() if part == "vault"}
        scored = replace(placed, splits={name: split for name, split in placed.splits.items() if name not in vaulted})
        placement.refuse_nothing_to_learn(scored, seen, dataset.classes, dataset.task)
        val, test = shares["val"], shares["test"]
        placement.tell_shares(placed, dataset.samples, {"train": 1 - val - test, "val": val, "test": test}, notice)
        placement.tell_lacking(scored, seen, dataset.classes, notice)
        placement.refuse_or_tell_leaks(placed.leaks, on_leak, notice)
        if vaulted:
            num_scenes = len({placed.scenes[name] for name in vaulted})
            notice(
                f"{len(vaulted)} test images of {num_scenes} scenes are in the vault: no score sees them until the gate asks for them"
            )
        with atomic.folder(destination) as partial:
            places = {name: assembly.Place(part, groups[name], placed.scenes[name]) for name, part in parts.items()}
            assembly.write(partial, made, dataset.classes, dataset.task, dataset.kind, places=places)
            atomic.write_json(partial / "leaks.json", [asdict(one) for one in placed.leaks])
        packing.remove_others(made, kept)
    return suspects.find([one for one in seen.labelled if one.id not in vaulted])  # who looks at those could tune on them
