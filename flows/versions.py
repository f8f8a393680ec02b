"""`segmodels diff`: what changed between two versions of the dataset, as they were prepared at two commits."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from flows.versioned import stored
from segmodels import atomic, console, pictures, versions
from segmodels.errors import InputError
from segmodels.project import PREPARED
from segmodels.versions import Difference

SHOWN = 8


@dataclass(frozen=True)
class Version:
    """A prepared dataset's manifest and the names of its classes."""

    manifest: pd.DataFrame
    class_names: list[str]


def at(revision: str | None) -> Version:
    """The version of a commit; None: what lies there now.

    Raises:
        InputError: nothing was prepared there, its data is nowhere, or it was prepared by an older program.
    """
    facts = json.loads(stored(revision, PREPARED / "dataset.json"))
    manifest = pd.read_parquet(io.BytesIO(stored(revision, PREPARED / "manifest.parquet")))
    if "image_sha256" not in manifest:
        raise InputError(f"{revision}: was prepared by a version of segmodels that did not note the images' hashes")
    learned = sorted((one for one in facts["classes"] if not one["ignore"]), key=lambda one: one["value"])
    return Version(manifest, [one["name"] for one in learned])


def diff(before: str, after: str | None, out: Path) -> Difference:
    """Compare two versions, print the difference, and write `diff.json` and `diff.png` into `out`."""
    old, new = at(before), at(after)
    found = versions.compare(old.manifest, new.manifest, (old.class_names, new.class_names))
    atomic.write_json(out / "diff.json", {"before": before, "after": after, **found.to_dict()})
    moved = [(one.name, one.before, one.after) for one in found.classes]
    names, shares_before, shares_after = zip(*moved, strict=True)
    pictures.moves(out / "diff.png", names, shares_before, shares_after)
    _print(found, before, after or "now")
    console.say(f"in {out}: diff.json, diff.png")
    return found


def _print(found: Difference, before: str, after: str) -> None:
    console.say(f"from {before} to {after}:{'' if found else ' the same images, labels and splits'}")
    for what, ids in (("added", found.added), ("removed", found.removed), ("relabelled", found.relabelled)):
        if ids:
            more = f", ... ({len(ids)} in all)" if len(ids) > SHOWN else ""
            console.say(f"  {len(ids)} images {what}: {', '.join(ids[:SHOWN])}{more}")
    if found.renamed:
        console.say(f"  {len(found.renamed)} images renamed")
    for move, count in found.moved.items():
        console.say(f"  {count} images moved, {move}")
    if found.left_test:
        console.say(f"  {len(found.left_test)} images left the test set: scores before and after are not of the same images")
    rows = [
        (
            one.name,
            *("-" if share is None else f"{share:.2%}" for share in (one.before, one.after)),
            _change(one.before, one.after),
        )
        for one in found.classes
    ]
    console.table("share of the known pixels", ("class", "before", "after", "change"), rows, names=1)


def _change(before: float | None, after: float | None) -> str:
    if not before or after is None:
        return "new" if after else "-"
    return f"{after / before - 1:+.1%}"
