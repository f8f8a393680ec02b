"""The promotion receipt: a verdict of the gate with all that it rests on, for programs and for people."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segmodels import atomic
from segmodels.gate import Change, Movement, Verdict

NAMES = ("promotion.json", "promotion.md")


def write(
    folder: Path, verdict: Verdict, *, project: str, version: str, champion: str | None, rests_on: Mapping[str, Any]
) -> list[Path]:
    """Write both; returns where they are.

    Args:
        version: that was decided about; `champion`: the one that was champion before.
        rests_on: the hashes of the bundle and of the test images, and the settings of the gate.
    """
    paths = [folder / name for name in NAMES]
    atomic.write_json(paths[0], {"project": project, "version": version, "champion": champion, **rests_on, **asdict(verdict)})
    atomic.write_text(paths[1], markdown(verdict, project=project, version=version, champion=champion))
    return paths


def markdown(verdict: Verdict, *, project: str, version: str, champion: str | None) -> str:
    """For people: the sentence first, then the figures."""
    against = "no champion" if champion is None else f"champion version {champion}"
    lines = [f"# {project} version {version}: {verdict.outcome}", "", f"{verdict.reason}.", ""]
    if verdict.gain is None:
        return "\n".join([*lines, f"Decided against {against}."]) + "\n"
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


def _iou(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _apart(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else f"{100 * (after - before):+.2f}"


def _points(change: Change) -> str:
    return f"{100 * change.difference:+.2f} points ({100 * change.low:+.2f} to {100 * change.high:+.2f})"
