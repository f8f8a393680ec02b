"""A version made again from its records: the commit, what the working tree held beside it, and the dataset that DVC has."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from flows import pipeline, registry
from segmodels import bundle, tracking
from segmodels.errors import InputError
from segmodels.project import BUNDLES, REPORTS, WORK

_RECORDS = "repository"
"""The folder of a run's artifacts that says what the working tree held."""
_COMMIT, _CHANGES = "commit", "changes.patch"


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


def keep(client: MlflowClient, run_id: str) -> None:
    """Note in a run from which commit its results were made, and what the working tree held beside it. Doing it twice changes nothing."""
    if any(one.path == _RECORDS for one in client.list_artifacts(run_id)):
        return
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return  # no repository, or one without a commit: there is nothing to make it again from
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / _COMMIT).write_text(commit.decode().strip(), encoding="utf-8")
        (Path(work) / _CHANGES).write_bytes(_changes(Path(work)))
        client.log_artifacts(run_id, work, _RECORDS)


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
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.parent.mkdir(parents=True, exist_ok=True)
    try:
        checked_out(found, scratch)
        say(f"making version {version}, {candidate}, again in {scratch}")
        pipeline.reproduce(scratch, candidate)
        return _compared(client, found, candidate, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def checked_out(version: ModelVersion, clone: Path) -> Path:
    """The working tree that a version was made from, without its data, in a new clone that shares DVC's cache.

    Raises:
        InputError: nothing says what it was, or its commit is not here.
    """
    with tempfile.TemporaryDirectory() as work:
        _check_out(_records(str(version.run_id), Path(work), str(version.version)), clone)
    pipeline.share_cache(clone)
    return clone


def _compared(client: MlflowClient, version: ModelVersion, candidate: str, scratch: Path) -> Reproduction:
    with tempfile.TemporaryDirectory() as work:
        then = registry.fetch(version, Path(work) / "bundle").facts.files[bundle.WEIGHTS]
    now = bundle.load(scratch / BUNDLES / candidate).facts.files[bundle.WEIGHTS]
    scores = json.loads((scratch / REPORTS / candidate / "scores.json").read_text(encoding="utf-8"))
    scored = client.get_run(str(version.run_id)).data.metrics[tracking.TEST_MIOU]
    return Reproduction(candidate, then == now, scored, scores["miou"])


def _records(run_id: str, work: Path, version: str) -> Path:
    mlflow.set_tracking_uri(tracking.uri())
    try:
        return Path(mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{_RECORDS}", dst_path=str(work)))
    except (MlflowException, OSError) as error:
        raise InputError(
            f"VERSION: nothing says what {version} was made from; it was registered outside a git repository, or its run is gone"
        ) from error


def _check_out(records: Path, scratch: Path) -> None:
    """The working tree as it was, in a new clone."""
    commit = (records / _COMMIT).read_text(encoding="utf-8")
    if _git("cat-file", "-e", f"{commit}^{{commit}}") is None:
        raise InputError(f"commit {commit} is not in this repository; `git fetch` it")
    for command in (
        ["git", "clone", "-q", "--no-checkout", ".", str(scratch)],
        ["git", "-C", str(scratch), "checkout", "-q", "--detach", commit],
    ):
        subprocess.run(command, check=True, capture_output=True)
    if (records / _CHANGES).stat().st_size:
        patch = str((records / _CHANGES).resolve())
        subprocess.run(["git", "-C", str(scratch), "apply", "--whitespace=nowarn", patch], check=True, capture_output=True)


def _changes(work: Path) -> bytes:
    """The working tree's difference from HEAD, with files that git does not know yet and does not ignore."""
    environment = os.environ | {"GIT_INDEX_FILE": str(work.with_name(f"{work.name}.index"))}  # not the person's own
    try:
        subprocess.run(["git", "read-tree", "HEAD"], env=environment, check=True, capture_output=True)
        subprocess.run(["git", "add", "-A"], env=environment, check=True, capture_output=True)
        done = subprocess.run(["git", "diff", "--cached", "--binary", "HEAD"], env=environment, check=True, capture_output=True)
    finally:
        Path(environment["GIT_INDEX_FILE"]).unlink(missing_ok=True)
    return done.stdout


def _git(*arguments: str) -> bytes | None:
    """What a git command says; None where it fails."""
    try:
        return subprocess.run(["git", *arguments], check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
