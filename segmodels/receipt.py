"""The promotion receipt: a verdict of the gate with all that it rests on, for programs and for people."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segmodels import atomic
from segmodels.gate import Change, Movement, Regression, Verdict
from segmodels.versions import Difference

NAMES = ("promotion.json", "promotion.md")


def write(
    folder: Path,
    verdict: Verdict,
    *,
    project: str,
    version: str,
    champion: str | None,
    learned: Difference | None = None,
    rests_on: Mapping[str, Any],
) -> list[Path]:
    """Write both; returns where they are.

    Args:
        version: that was decided about; `champion`: the one that was champion before.
        learned: what is in the dataset that was not when the champion was trained; None where that is unknown.
        rests_on: the hashes of the bundle and of the test images, and the settings of the gate.
    """
    paths = [folder / name for name in NAMES]
    data = None if learned is None else summary(learned)
    found = {"project": project, "version": version, "champion": champion, "data": data, **rests_on, **asdict(verdict)}
    atomic.write_json(paths[0], found)
    atomic.write_text(paths[1], markdown(verdict, project=project, version=version, champion=champion, data=data))
    return paths


def summary(learned: Difference) -> dict[str, int]:
    """How many images a difference between two versions of the dataset is about, by what became of them."""
    kinds = ("added", "removed", "relabelled", "renamed", "left_test")
    return {kind: len(getattr(learned, kind)) for kind in kinds} | {"moved": sum(learned.moved.values())}


def markdown(verdict: Verdict, *, project: str, version: str, champion: str | None, data: Mapping[str, int] | None = None) -> str:
    """For people: the sentence first, then the figures."""
    against = "no champion" if champion is None else f"champion version {champion}"
    lines = [f"# {project} version {version}: {verdict.outcome}", "", f"{verdict.reason}.", ""]
    if verdict.gain is None:
        return "\n".join([*lines, f"Decided against {against}.", *_learned(data)]) + "\n"
    shown = "none" if verdict.detectable is None else f"{100 * verdict.detectable:.1f} points"
    lines += [
        f"Decided against {against} on {verdict.clusters} independent parts of the test images.",
        "",
        "| asked | found |",
        "|---|---|",
        f"| evidence that it is better | 10^{verdict.times / math.log(10):.1f} to 1; 10^{verdict.times_needed / math.log(10):.1f} to 1 is needed |",
        f"| gain | {_points(verdict.gain)} |",
        f"| smallest gain that this test set shows four times in five | {shown} |",
        f"| parts where it is off by more than 20 points | worse in {verdict.worse}, better in {verdict.better} |",
    ]
    if verdict.anchor is not None:
        lines.append(f"| against the best champion ever | {_points(verdict.anchor)} |")
    if verdict.vault is not None:
        lines.append(f"| the vault | {verdict.vault} |")
    lines += _table("class", verdict.classes) + _table("slice", verdict.slices) + _moved(verdict.movements)
    lines += _regressions(verdict.regressions) + _learned(data)
    return "\n".join(lines) + "\n"


def _table(of: str, changes: Sequence[Change]) -> list[str]:
    if not changes:
        return []
    return [
        "",
        f"| {of} | IoU, points |",
        "|---|---|",
        *(f"| {one.what.replace('|', '/')} | {_points(one)} |" for one in changes),
    ]


def _moved(movements: Sequence[Movement]) -> list[str]:
    if not movements:
        return []
    return [
        "",
        "Test images have come, or have other labels, since the last decision. What moved is the data's where the champion moved, and the model's where the two differ:",
        "",
        "| | champion, test set of then | champion, test set of now | the data's | challenger | the model's |",
        "|---|---|---|---|---|---|",
        *(
            f"| {one.what.replace('|', '/')} | {_iou(one.before)} | {_iou(one.now)} | {_apart(one.before, one.now)} | {_iou(one.challenger)} | "
            f"{_apart(one.now, one.challenger)} |"
            for one in movements
        ),
    ]


def _regressions(regressions: Sequence[Regression]) -> list[str]:
    if not regressions:
        return []
    return [
        "",
        "| images that lost most | champion's mIoU | challenger's | points |",
        "|---|---|---|---|",
        *(
            f"| {one.image.replace('|', '/')} | {_iou(one.champion)} | {_iou(one.challenger)} | {_apart(one.champion, one.challenger)} |"
            for one in regressions
        ),
    ]


def _learned(data: Mapping[str, int] | None) -> list[str]:
    return [] if data is None else ["", f"The dataset, since the champion was trained: {told(data)}."]


def told(data: Mapping[str, int]) -> str:
    """A summary in words."""
    words = {
        "added": "added",
        "removed": "removed",
        "relabelled": "relabelled",
        "renamed": "renamed",
        "moved": "moved to another split",
        "left_test": "of these left the test set",
    }
    return ", ".join(f"{data[kind]:,} {word}" for kind, word in words.items() if data[kind]) or "the same images and labels"


def _iou(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _apart(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else f"{100 * (after - before):+.2f}"


def _points(change: Change) -> str:
    return f"{100 * change.difference:+.2f} points ({100 * change.low:+.2f} to {100 * change.high:+.2f})"
