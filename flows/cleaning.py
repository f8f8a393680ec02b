"""`make clean-cache`: what nobody needs any more leaves DVC's cache. What a registered version was made from always stays."""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from flows import reproduction, versioned
from segmodels import atomic, locks, tracking
from segmodels.errors import InputError
from segmodels.project import LOCKS, WORK

_REGISTRIES = WORK / "registries.json"
"""Every registry that a version of this folder went to: MLflow's address, the registry's, and the project's name there."""


def note(project: str) -> None:
    """Note where versions of this folder are registered."""
    known = _noted()
    if (*_addresses(), project) not in known:
        atomic.write_json(_REGISTRIES, [*known, (*_addresses(), project)])


def clean(project: str, *, say: Callable[[str], None]) -> int:
    """Remove from DVC's cache what neither this folder, the tip of a branch, a tag, nor a version of a registry needs; returns the bytes freed.

    Raises:
        InputError: nobody knows what a version was made from, or which versions there are: then nothing is removed.
    """
    with (
        locks.held(LOCKS / "retrain", on_wait=lambda: say("a retraining runs in this folder; waiting for it")),
        locks.held(reproduction.LOCK, on_wait=lambda: say("a version is being made again; waiting for it")),
    ):
        versions = {
            (uri, str(one.run_id)): one
            for uri, at, name in [*_noted(), (*_addresses(), project)]
            for one in _versions(uri, at, name)
        }
        if not versions:
            raise InputError(
                f"nothing was removed: the registry at {tracking.uri()} has no version of {project}, and it is not told from a wrong one; "
                "set MLFLOW_TRACKING_URI, or `make up`"
            )
        for left in WORK.glob("clean-*"):
            shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix="clean-", dir=WORK))
        try:
            return versioned.collect_garbage(
                [reproduction.checked_out(one, work / run_id, uri=uri) for (uri, run_id), one in versions.items()]
            )
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _addresses() -> tuple[str, str]:
    return tracking.uri(), tracking.registry_uri()


def _noted() -> list[tuple[str, str, str]]:
    found = json.loads(_REGISTRIES.read_text(encoding="utf-8")) if _REGISTRIES.is_file() else []
    return [(uri, at, project) for uri, at, project in found]


def _versions(uri: str, at: str, project: str) -> list[ModelVersion]:
    if uri == tracking.DEFAULT_URI and not Path("mlflow.db").exists():
        return []
    try:
        return list(MlflowClient(tracking_uri=uri, registry_uri=at).search_model_versions(f"name = '{project}'"))
    except MlflowException as error:
        raise InputError(
            f"nothing was removed: versions of {project} are in the registry at {uri}, which does not answer ({error})"
        ) from error
