"""A candidate made in another clone of this repository, here or on another machine."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import networkx

from flows import versioned
from flows.versioned import StageError
from segmodels.errors import InputError


@runtime_checkable
class Elsewhere(Protocol):
    """Other machines, which have no disk in common with this one."""

    def make(self, candidate: str, environment: dict[str, str]) -> None:
        """Train and score a candidate, and have the results on DVC's remote.

        Raises:
            StageError: it failed.
        """
        ...


def push_inputs(candidate: str) -> None:
    """Copy to the remote what a candidate is trained on and scored by; what is there already costs a look."""
    versioned.run("push", *_before(f"train@{candidate}"))


def make_here(candidate: str) -> None:
    """In a clone on another machine: fetch what a candidate is made from, make it, and push what came out.

    Raises:
        StageError: a stage failed.
    """
    versioned.run("pull", *_before(f"train@{candidate}"))
    made = (f"train@{candidate}", f"evaluate@{candidate}")
    for name in made:
        versioned.run("repro", "-s", name)
    versioned.run("push", *made)
    # last: a run that is remembered without its results would be run again by whoever asked
    versioned.run("push", "--run-cache", *made)


def _before(name: str, clone: Path | None = None) -> list[str]:
    """The stages that a stage needs, in an order that can be run; of this clone unless another is given."""
    with versioned.repository(clone) as repo:
        graph = repo.index.graph.reverse()
        [last] = [stage for stage in graph if not stage.is_data_source and stage.name == name]
        needed = networkx.ancestors(graph, last)
        return [one.name for one in networkx.topological_sort(graph) if one in needed and not one.is_data_source]


def reproduce(clone: Path, candidate: str) -> None:
    """Make a candidate again in a clone that shares the cache: its dataset comes from there or a remote, its training from nowhere.

    Raises:
        InputError: its dataset is not to be had.
        StageError: a stage failed.
    """
    with versioned.repository() as repo:
        remote = repo.config["core"].get("remote")
    try:
        versioned.run("pull" if remote else "checkout", "data/raw.dvc", folder=clone)
    except StageError as error:
        where = f"DVC's cache and the remote {remote}" if remote else "DVC's cache, and there is no remote"
        raise InputError(
            f"data/raw.dvc: {where} hold no such dataset any more; fetch it with `dvc fetch` from where it is"
        ) from error
    own = {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}  # its records are none of the project's
    scored = f"evaluate@{candidate}"
    for name in [*_before(scored, clone), scored]:
        anew = ("--force", "--no-run-cache") if name.partition("@")[0] in ("train", "evaluate") else ()
        versioned.run("repro", "-s", *anew, name, folder=clone, environment=own)
