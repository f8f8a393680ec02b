"""The stages of dvc.yaml: which are due and why, what each took last, and how many run at once.

What depends on what is read from dvc.yaml, never written again. Imports little: that nothing is due is to be known in a second or two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx

from flows import reasons, versioned
from segmodels.params import Params
from segmodels.project import DURATIONS


class RetrainError(Exception):
    """Stages failed. Candidates that did not fail have been compared and registered all the same."""


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml that is due.

    Attributes:
        upstream: the stages it waits for.
        outs: its outputs.
        options: for `dvc repro`.
        why: what has changed for it, in words; nothing where it only follows from others.
    """

    name: str
    upstream: frozenset[str]
    outs: tuple[Path, ...]
    options: tuple[str, ...] = ()
    why: tuple[str, ...] = ()

    @property
    def candidate(self) -> str | None:
        """Whose training or evaluation this is; None for what concerns all."""
        return self.name.partition("@")[2] if self.kind in ("train", "evaluate") else None

    @property
    def kind(self) -> str:
        return self.name.partition("@")[0]


def stale(unwatched: Mapping[str, bool]) -> list[Stage]:
    """The stages whose inputs have changed since they ran, and all that follow from them, in an order that can be run.

    Args:
        unwatched: stages that read something DVC does not watch, and whether that has changed. Their results are never taken from
            DVC's cache of runs, which would not know the difference.
    """
    changed = {name for name, differs in unwatched.items() if differs}
    with versioned.repository() as repo:
        graph: networkx.DiGraph[Any] = repo.index.graph.reverse()  # DVC's edges go from a stage to what it needs
        accounts = repo.status()
        due = [stage for stage in graph if stage.addressing in accounts or stage.addressing in changed]
        pending = set(due).union(*(networkx.descendants(graph, stage) for stage in due))
        return [
            Stage(
                name=stage.addressing,
                upstream=frozenset(
                    other.addressing for other in graph.predecessors(stage) if other in pending and not other.is_data_source
                ),
                outs=tuple(Path(out.fs_path).relative_to(repo.root_dir) for out in stage.outs),
                options=("--no-run-cache",) * (stage.addressing in unwatched) + ("--force",) * (stage.addressing in changed),
                why=reasons.told(accounts.get(stage.addressing, ()))
                + ("its weights file holds something else",) * (stage.addressing in changed),
            )
            for generation in networkx.topological_generations(graph)
            for stage in generation
            if stage in pending and not stage.is_data_source
        ]


def durations(since: float = 0.0) -> dict[str, float]:
    """The seconds that each stage took when it last ran to its end, by its name; of those that have since then (seconds since 1970)."""
    if not DURATIONS.is_dir():
        return {}
    noted = [path for path in DURATIONS.iterdir() if not path.name.startswith(".") and path.stat().st_mtime >= since]
    return {path.name: float(path.read_text()) for path in noted}


def slots(settings: Params) -> int:
    """How many stages run at once on this machine."""
    if settings.resources.slots != "auto":
        return settings.resources.slots
    from segmodels import device  # which takes seconds

    return device.slots()
