"""A version made again from its records: the working tree that it was made from, and the dataset that DVC has."""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from flows import clones, registry, snapshot, versioned
from flows.snapshot import Tree
from segmodels import bundle, locks, tracking
from segmodels.errors import InputError
from segmodels.project import BUNDLES, LOCKS, RAW, REPORTS, WORK

_MADE_FROM = "made_from.json"
"""The artifact of a run that says from what its version was made."""
LOCK = LOCKS / "reproductions"
"""Held by whoever needs the data of versions, or removes what no version needs."""


@dataclass(frozen=True)
class Reproduction:
    """How a version that was made again compares with the registered one.

    Attributes:
        same_weights: bit for bit.
        miou_then, miou_now: on the test set.
    """

    candidate: str
    same_weights: bool
    miou_then: float
    miou_now: float


def keep(client: MlflowClient, run_id: str, tree: Tree) -> None:
    """Note in a run what its version was made from. Doing it twice changes nothing.

    Args:
        tree: the working tree when the retraining began; what came of it since is in dvc.lock.
    """
    if any(one.path == _MADE_FROM for one in client.list_artifacts(run_id)):
        return
    lock = Path("dvc.lock").read_text(encoding="utf-8")
    client.log_dict(run_id, asdict(tree) | {"dvc_lock": lock, "dataset": versioned.trained_on(RAW)}, _MADE_FROM)


def reproduce(project: str, version: str, *, say: Callable[[str], None]) -> Reproduction:
    """Train and score a version's candidate anew, in a scratch clone, and compare. Nothing of this folder or the registry is changed.

    Raises:
        InputError: there is no such version, or what it was made from cannot be had any more.
        StageError: a stage failed.
    """
    client = tracking.connect()
    known = {str(one.version): one for one in client.search_model_versions(f"name = '{project}'")}
    if version not in known:
        raise InputError(f"VERSION: {version} is none of {project}; there are {', '.join(sorted(known, key=int)) or 'none'}")
    found = known[version]
    candidate, scratch = str(found.tags["segmodels.candidate"]), WORK / "reproductions" / version
    with locks.held(
        LOCK, on_wait=lambda: say("another version is being made again, or the cache is being cleaned; waiting for it")
    ):
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.parent.mkdir(parents=True, exist_ok=True)
        try:
            checked_out(found, scratch, uri=tracking.uri())
            say(f"making version {version}, {candidate}, again in {scratch}")
            clones.reproduce(scratch, candidate)
            return _compared(client, found, candidate, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def checked_out(version: ModelVersion, clone: Path, *, uri: str) -> Path:
    """The working tree that a version was made from, without its data, in a new clone that shares DVC's cache.

    Args:
        uri: MLflow's, where the version is registered.

    Raises:
        InputError: nothing says what it was, or its commit is not here.
    """
    mlflow.set_tracking_uri(uri)
    try:
        made_from = mlflow.artifacts.load_dict(f"runs:/{version.run_id}/{_MADE_FROM}")
    except (MlflowException, OSError) as error:
        raise InputError(
            f"nothing says what version {version.version} of {version.name} was made from; it was registered outside a git repository, or "
            "its run is gone"
        ) from error
    snapshot.check_out(Tree(made_from["commit"], made_from["patch"]), clone)
    (clone / "dvc.lock").write_text(made_from["dvc_lock"], encoding="utf-8")
    pointer = clone / RAW.with_name(f"{RAW.name}.dvc")
    pointer.parent.mkdir(parents=True, exist_ok=True)
    # not the one of the tree: somebody may have brought in another dataset while this was trained
    pointer.write_text(f"outs:\n- md5: {made_from['dataset']}\n  hash: md5\n  path: {RAW.name}\n", encoding="utf-8")
    versioned.share_cache(clone)
    return clone


def _compared(client: MlflowClient, version: ModelVersion, candidate: str, scratch: Path) -> Reproduction:
    with tempfile.TemporaryDirectory() as work:
        then = registry.fetch(version, Path(work) / "bundle").facts.files[bundle.WEIGHTS]
    now = bundle.load(scratch / BUNDLES / candidate).facts.files[bundle.WEIGHTS]
    scores = json.loads((scratch / REPORTS / candidate / "scores.json").read_text(encoding="utf-8"))
    scored = client.get_run(str(version.run_id)).data.metrics[tracking.TEST_MIOU]
    return Reproduction(candidate, then == now, scored, scores["miou"])
