"""What MLflow holds of a project, read for people: its retrainings and what came out of each, its candidates' runs, the registry's versions."""

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from segmodels import tracking
from segmodels.samples import SegmentationClass, trained

CHAMPION, BEST_EVER = "champion", "best-ever"
"""Aliases of the registry: what is served, and the best that ever was."""
VERDICT, DECISION = "segmodels.verdict", "segmodels.decision"
"""Tags of a version: what was decided of it, and the key of that. A retraining has the former too, as a sentence."""
PREVIOUS, LEFT = "segmodels.previous", "segmodels.rolled_back"
"""Tags of a version: the one that was champion before it was promoted, and that a person has gone back from it."""
DATASET = "segmodels.dataset_sha256"
"""Tag of a version: the hash of the prepared dataset that it was trained on."""
_PARENT, _SHA256 = "mlflow.parentRunId", re.compile("[0-9a-f]{64}")
_OWN = ("mlflow.", "segmodels.")
MOST = 1000
"""Runs that are read, the newest."""


@dataclass(frozen=True)
class Retrain:
    """A retraining.

    Attributes:
        seconds: how long it took; None while it runs.
        status: as MLflow has it: RUNNING, FINISHED, FAILED, KILLED.
        started: why, as by hand, by the clock.
        verdict: outcome and reason, `promote: ...`; None where nothing came out.
        dataset: the hash under which DVC has the dataset that it ran on.
        manifest: the hash of the prepared dataset, where this retraining was the first on it: its manifest is among the artifacts.
        page: where MLflow's own page shows it; None without a server.
    """

    run_id: str
    began: datetime
    seconds: float | None
    status: str
    started: str
    verdict: str | None
    dataset: str
    manifest: str | None
    page: str | None

    @property
    def outcome(self) -> str:
        """In a word: promote, keep, inconclusive, refused; or how it ended where nothing was decided."""
        return self.status.lower() if self.verdict is None else self.verdict.partition(":")[0]

    @property
    def reason(self) -> str:
        return "" if self.verdict is None else self.verdict.partition(":")[2].strip()


@dataclass(frozen=True)
class Prepared:
    """A version of the dataset as it was prepared: its manifest (see store.py) and the names of its classes."""

    manifest: pd.DataFrame
    class_names: list[str]


@dataclass(frozen=True)
class CandidateRun:
    """The training and scoring of a candidate.

    Attributes:
        retrain: the run of the retraining that it was made in.
        bundle: the sha256 of what came out; None where nothing did.
        params: what it was trained by, flat: `training.epochs` and the like.
        metrics: the last value of each.
        tags: those that a person has given it.
        gave_up: why the training was given up, if it was.
        page: where MLflow's own page shows it; None without a server.
    """

    run_id: str
    name: str
    began: datetime
    status: str
    retrain: str | None
    bundle: str | None
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    gave_up: str | None
    page: str | None


@dataclass(frozen=True)
class Version:
    """A version of the registry.

    Attributes:
        outcome, reason: of the last decision about it; None before the first.
        aliases: its names.
        previous: the version that was champion before it was promoted.
        rolled_back: a person has gone back from it.
        tags: all that was noted with it: hashes, commit, backend.
    """

    version: int
    candidate: str
    bundle_sha256: str
    registered: datetime
    run_id: str
    outcome: str | None
    reason: str | None
    aliases: tuple[str, ...]
    previous: int | None
    rolled_back: bool
    tags: Mapping[str, str]


def retrains(project: str) -> list[Retrain]:
    """The newest first."""
    return [_retrain(run) for run in _runs(project, "retrain")]


def candidate_runs(project: str) -> list[CandidateRun]:
    """The newest first."""
    return [_candidate(run) for run in _runs(project, "candidate")]


def versions(project: str) -> list[Version]:
    """Every version of the registry that was registered by a retraining, the newest first."""
    if not tracking.is_begun():
        return []
    client = tracking.connect()
    found = [one for one in client.search_model_versions(f"name = '{project}'") if _is_ours(one)]
    named = client.get_registered_model(project).aliases if found else {}
    return sorted((_version(one, named) for one in found), key=lambda one: -one.version)


def report(run_id: str, path: str) -> dict[str, Any] | None:
    """A JSON file among a run's artifacts, as `reports/leaderboard.json`; None where there is none."""
    text = file(run_id, path)
    return None if text is None else json.loads(text)


def file(run_id: str, path: str) -> str | None:
    """A text file among a run's artifacts; None where there is none."""
    mlflow.set_tracking_uri(tracking.uri())
    return _or_none(lambda: str(mlflow.artifacts.load_text(f"runs:/{run_id}/{path}")))


def prepared(run_id: str) -> Prepared | None:
    """The version of the dataset that a retraining was the first on; None where it is not on record."""
    facts = report(run_id, f"{tracking.PREPARED}/dataset.json")
    with tempfile.TemporaryDirectory() as work:
        address = f"runs:/{run_id}/{tracking.PREPARED}/manifest.parquet"
        path = _or_none(lambda: str(mlflow.artifacts.download_artifacts(address, dst_path=work)))
        if path is None:
            return None
        manifest = pd.read_parquet(path)
    if facts is None:
        return None
    names = [one.name for one in trained([SegmentationClass.from_dict(one) for one in facts["classes"]])]
    return Prepared(manifest, names)


def prepared_as(project: str, sha256: str) -> Prepared | None:
    """The version of the dataset that has this hash; None where no retraining on it came to its end, or its record is gone."""
    found = _runs(project, "retrain", f" and tags.`{tracking.MANIFEST}` = '{sha256}'")
    return prepared(found[0].info.run_id) if found else None


def card(project: str, version: int) -> str | None:
    """The model card of a version; None where its model is gone."""
    mlflow.set_tracking_uri(tracking.uri())
    return _or_none(lambda: str(mlflow.artifacts.load_text(f"models:/{project}/{version}/artifacts/bundle/README.md")))


def is_gone(error: MlflowException | OSError) -> bool:
    """Whether there is nothing, rather than that the server cannot answer."""
    if isinstance(error, OSError):
        return isinstance(error, FileNotFoundError)
    return (
        error.error_code == "RESOURCE_DOES_NOT_EXIST" or isinstance(error.__cause__, FileNotFoundError) or "No such" in str(error)
    )


def _or_none(read: Callable[[], str]) -> str | None:
    try:
        return read()
    except (MlflowException, OSError) as error:
        if is_gone(error):
            return None
        raise


def _runs(project: str, kind: str, condition: str = "") -> list[Run]:
    if not tracking.is_begun():  # who only looks makes no database
        return []
    client = tracking.connect()
    experiment = client.get_experiment_by_name(project)
    if experiment is None:
        return []
    return list(
        client.search_runs(
            [experiment.experiment_id],
            filter_string=f"tags.`segmodels.kind` = '{kind}'{condition}",
            order_by=["attributes.start_time DESC"],
            max_results=MOST,
        )
    )


def _retrain(run: Run) -> Retrain:
    info, tags = run.info, run.data.tags
    inputs = run.inputs.dataset_inputs if run.inputs is not None else []
    return Retrain(
        run_id=info.run_id,
        began=_time(info.start_time),
        seconds=None if info.end_time is None else (info.end_time - info.start_time) / 1000,
        status=info.status,
        started=tags.get(tracking.STARTED, "unknown"),
        verdict=tags.get(VERDICT),
        dataset=str(inputs[0].dataset.digest) if inputs else "unknown",
        manifest=tags.get(tracking.MANIFEST),
        page=tracking.page(info.experiment_id, info.run_id),
    )


def _candidate(run: Run) -> CandidateRun:
    tags = run.data.tags
    return CandidateRun(
        run_id=run.info.run_id,
        name=str(run.info.run_name),
        began=_time(run.info.start_time),
        status=run.info.status,
        retrain=tags.get(_PARENT),
        bundle=tags.get(tracking.BUNDLE),
        params=run.data.params,
        metrics=run.data.metrics,
        tags={name: value for name, value in tags.items() if not name.startswith(_OWN)},
        gave_up=tags.get(tracking.GAVE_UP),
        page=tracking.page(run.info.experiment_id, run.info.run_id),
    )


def _is_ours(version: ModelVersion) -> bool:
    return "segmodels.candidate" in version.tags and bool(_SHA256.fullmatch(version.tags.get(tracking.BUNDLE, "")))


def _version(version: ModelVersion, named: Mapping[str, str]) -> Version:
    tags = version.tags
    decided = json.loads(tags[VERDICT]) if VERDICT in tags else {}
    return Version(
        version=int(version.version),
        candidate=tags["segmodels.candidate"],
        bundle_sha256=tags[tracking.BUNDLE],
        registered=_time(version.creation_timestamp),
        run_id=str(version.run_id),
        outcome=decided.get("outcome"),
        reason=decided.get("reason"),
        aliases=tuple(sorted(name for name, one in named.items() if str(one) == str(version.version))),
        previous=int(tags[PREVIOUS]) if tags.get(PREVIOUS) else None,
        rolled_back=bool(tags.get(LEFT)),
        tags=tags,
    )


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
