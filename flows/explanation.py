"""Why the last retraining ran, what would run now and why, and how long that takes."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flows import stage_graph, versioned
from flows.stage_graph import Stage
from flows.standing import begun_from_files
from segmodels import atomic, locks
from segmodels.params import Params
from segmodels.project import LOCKS, WORK

_LAST = WORK / "last_retrain.json"
SHOWN = 3
"""Reasons of a stage that are listed; of more, how many there are."""


@dataclass(frozen=True)
class Explanation:
    """What `segmodels explain` says.

    Attributes:
        last: when and why the last retraining ran, in a sentence; None before the first.
        due: the stages that would run now, each with why and the seconds it is expected to take, None where nobody knows.
        seconds: all of them together, with as many trainings at once as there are slots.
        is_running: a retraining is under way; what is due is not known before it ends.
    """

    last: str | None
    due: Sequence[tuple[str, str, float | None]]
    seconds: float | None
    is_running: bool


def note(stages: Sequence[Stage], *, started: str, now: datetime) -> None:
    """Keep why a retraining runs, for `explain`."""
    why = {stage.name: stage.why for stage in stages}
    atomic.write_json(_LAST, {"started": started, "time": now.isoformat(timespec="seconds"), "stages": why})


def explain(settings: Params) -> Explanation:
    """Nothing is changed by it."""
    with locks.held_if_free(LOCKS / "retrain") as free:
        if not free:
            return Explanation(_last(), (), None, is_running=True)
        versioned.forget_ended()
        stages = stage_graph.stale(begun_from_files(settings))
    took = stage_graph.durations()
    expected = {stage.name: _expected(stage, took) for stage in stages}
    due = [(stage.name, reason(stage), expected[stage.name]) for stage in stages]
    return Explanation(_last(), due, together(stages, expected, stage_graph.slots(settings)), is_running=False)


def reason(stage: Stage) -> str:
    """Why a stage is due, in a phrase."""
    if not stage.why:
        return f"follows from {', '.join(sorted(stage.upstream))}" if stage.upstream else "what it reads has changed"
    more = len(stage.why) - SHOWN
    return "; ".join([*stage.why[:SHOWN], *([f"and {more} more"] if more > 0 else [])])


def together(stages: Sequence[Stage], expected: Mapping[str, float | None], slots: int) -> float | None:
    """Seconds until all have run, so many at once; None where one is not known.

    Args:
        stages: in an order in which they can run.
    """
    ends: dict[str, float] = {}
    free = [0.0] * slots
    for stage in stages:
        takes = expected[stage.name]
        if takes is None:
            return None
        slot = free.index(min(free))
        begins = max([free[slot], *(ends[name] for name in stage.upstream)])
        free[slot] = ends[stage.name] = begins + takes
    return max(ends.values(), default=0.0)


def _expected(stage: Stage, took: Mapping[str, float]) -> float | None:
    """What it took the last time, or what others of its kind took."""
    if stage.name in took:
        return took[stage.name]
    alike = [seconds for name, seconds in took.items() if name.partition("@")[0] == stage.kind]
    return statistics.median(alike) if alike else None


def _last() -> str | None:
    if not Path(_LAST).is_file():
        return None
    found = json.loads(_LAST.read_text(encoding="utf-8"))
    because = [f"{name} as {'; '.join(why[:SHOWN])}" for name, why in found["stages"].items() if why]
    ran = f"; {', '.join(because)}; {len(found['stages'])} stages in all" if because else ""
    return f"{found['time']}, started {found['started']}{ran}"
