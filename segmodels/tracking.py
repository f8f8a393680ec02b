"""Records of runs in MLflow: a parent run per retraining, a run per candidate. Never decides anything and never stops a training.

The runs are at `MLFLOW_TRACKING_URI`, else in `sqlite:///mlflow.db`. A candidate's run is found again by the hash of what it trains
on, later by the hash of its bundle: a resumed training goes on in its run, and nothing has to remember run ids.
"""

import contextlib
import functools
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from mlflow import MlflowClient
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Dataset as DatasetEntity
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from segmodels import console
from segmodels.errors import InputError, TrainingError
from segmodels.processes import uninterrupted

VARIABLE = "MLFLOW_TRACKING_URI"
DEFAULT_URI = "sqlite:///mlflow.db"
PARENT = "SEGMODELS_PARENT_RUN_ID"  # not MLFLOW_RUN_ID, with which a child run would become the parent
BUNDLE, INPUTS, TEST = "segmodels.bundle_sha256", "segmodels.inputs_sha256", "segmodels.test_sha256"

TEST_MIOU, TRAINING_SECONDS = "test_miou", "training_seconds"
STARTED = "segmodels.started"
"""Why a retraining was started: by hand, by the clock, or as the dataset has changed."""
MANIFEST, PREPARED = "segmodels.manifest", "prepared"
"""Tag of the retraining that has the manifest of a prepared dataset, by that dataset's hash, and the folder in its artifacts."""
STAGES = "stages.json"
GAVE_UP = "segmodels.gave_up"
"""Why a training was given up: with it there is no hash of its inputs any more."""

FAILURES = (MlflowException, OSError)
"""How it shows that MLflow does not do what it is asked."""


def uri() -> str:
    return os.environ.get(VARIABLE) or DEFAULT_URI


def is_served() -> bool:
    """Whether a server has the records, which other machines may reach."""
    return uri().startswith(("http://", "https://"))


def registry_uri() -> str:
    return os.environ.get("MLFLOW_REGISTRY_URI") or uri()


def connect() -> MlflowClient:
    return MlflowClient(tracking_uri=uri(), registry_uri=registry_uri())


def is_begun() -> bool:
    """Whether there is anything yet: without a server the first run makes the file."""
    return uri() != DEFAULT_URI or Path("mlflow.db").exists()


def ping() -> None:
    """Ask MLflow something.

    Raises:
        OSError: it does not answer.
    """
    try:
        connect().search_experiments(max_results=1)
    except MlflowException as error:
        raise ConnectionError(str(error)) from error


def unusable(error: Exception) -> InputError:
    """What to tell a person when MLflow does not do what it is asked."""
    return InputError(f"MLflow at {uri()} cannot be used: {error}; start it, or set MLFLOW_TRACKING_URI and who you are there")


@contextlib.contextmanager
def retrain_run(project: str, *, params: dict[str, Any], dataset: Path, started: str) -> Iterator[str]:
    """The parent run of a retraining, with the resolved params; yields its id. It ends as finished, killed or failed, as the block does.

    Args:
        started: why it was started.

    Raises:
        InputError: MLflow cannot be reached.
    """
    client = connect()
    try:
        run = client.create_run(
            _experiment(client, project), run_name="retrain", tags={"segmodels.kind": "retrain", STARTED: started}
        )
        run_id = str(run.info.run_id)
        client.log_dict(run_id, params, "params.yaml")
        client.log_inputs(run_id, [_lineage(project, dataset, "retraining")])
    except FAILURES as error:
        raise unusable(error) from error
    try:
        yield run_id
    except BaseException as error:
        client.set_terminated(run_id, _status_of(error))
        raise
    client.set_terminated(run_id, "FINISHED")


def killed(run_id: str) -> None:
    """Note that a person has ended the run."""
    connect().set_terminated(run_id, "KILLED")


def note_stages(run_id: str, stages: Mapping[str, Mapping[str, Any]]) -> None:
    """Add to a parent run which stages ran: `why`, `seconds` and `failed` of each."""
    connect().log_dict(run_id, dict(stages), STAGES)


def conclude(run_id: str, *, reports: Path, prepared: Path, verdict: str) -> None:
    """Add to a parent run what came out: the leaderboard, what the gate said, and why; and what the dataset held, once for each version of it."""
    client = connect()
    for path in sorted([*reports.glob("leaderboard.*"), *reports.glob("promotion.*"), *reports.glob("index.html")]):
        client.log_artifact(run_id, str(path), "reports")
    sha256 = json.loads((prepared / "dataset.json").read_text(encoding="utf-8"))["sha256"]
    if _find(client, client.get_run(run_id).info.experiment_id, MANIFEST, sha256) is None:
        for name in ("dataset.json", "manifest.parquet"):
            client.log_artifact(run_id, str(prepared / name), PREPARED)
        client.set_tag(run_id, MANIFEST, sha256)
    client.set_tag(run_id, "segmodels.verdict", verdict)


def versions(project: str, tag: str, value: str) -> list[ModelVersion]:
    """The versions in the registry with this value of a tag."""
    return list(connect().search_model_versions(f"name = '{project}' and tags.`{tag}` = '{value}'"))


def address(run_id: str) -> str | None:
    """Where a browser shows a run; None without a server."""
    return page(connect().get_run(run_id).info.experiment_id, run_id) if is_served() else None


def page(experiment_id: str, run_id: str) -> str | None:
    """The same of a run whose experiment is known."""
    return f"{uri().rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}" if is_served() else None


MAX_METRICS = 1000
"""What MLflow takes in one batch."""


class CandidateRun:
    """The run of one candidate's training. When MLflow fails the training goes on, and `record` adds later what is missing."""

    def __init__(self, project: str, candidate: str, *, params: dict[str, Any], dataset: Path) -> None:
        self.project, self.candidate, self.params, self.dataset = project, candidate, params, dataset
        self.inputs_sha256: str | None = None
        self.run_id: str | None = None
        self.monitor: SystemMetricsMonitor | None = None
        self.unsent: list[Metric] = []

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Ends the run as finished, killed or failed, as the block ends. One that was given up is never gone on with."""
        try:
            yield
        except BaseException as error:
            self._end(_status_of(error), gave_up=error if isinstance(error, TrainingError) else None)
            raise
        self._end("FINISHED")

    def start(self, digest: str) -> None:
        """Find the run of this training, by the hash of its inputs, if it was interrupted, or begin one."""
        self.inputs_sha256 = digest
        self._begun()

    def epoch(self, record: dict[str, Any]) -> None:
        """Log one epoch's record; see `learner.EpochRecord`. With it goes what MLflow was away for."""
        self.unsent += _epoch_metrics(record)
        self._send()

    def trained(self, bundle_sha256: str) -> None:
        """Note which bundle came out."""
        run_id = self._begun()
        if run_id is not None:
            with _tolerated("tag the run"):
                connect().set_tag(run_id, BUNDLE, bundle_sha256)

    def _begun(self) -> str | None:
        """The run's id. Where there is none yet, as MLflow was away, it is tried again."""
        if self.run_id is None and self.inputs_sha256 is not None:
            with _tolerated("begin the run"):
                self.run_id = self._begin(self.inputs_sha256)
        return self.run_id

    def _begin(self, digest: str) -> str:
        client, parent = connect(), os.environ.get(PARENT)
        experiment = _experiment(client, self.project)
        found = _find(client, experiment, INPUTS, digest)
        if found is not None and found.info.status != "FINISHED":
            run_id = str(found.info.run_id)
            client.update_run(run_id, status="RUNNING")
            if not found.data.params:  # MLflow went away while it was begun
                _describe(client, run_id, self.project, self.params, self.dataset)
            if parent:
                client.set_tag(run_id, "mlflow.parentRunId", parent)
        else:
            tags = {INPUTS: digest} | ({"mlflow.parentRunId": parent} if parent else {})
            run_id = _create(client, experiment, self.project, self.candidate, self.params, self.dataset, tags)
        self.monitor = SystemMetricsMonitor(run_id, tracking_uri=uri(), resume_logging=found is not None)
        self.monitor.start()
        return run_id

    def _send(self) -> None:
        run_id = self._begun()
        if run_id is not None:
            with _tolerated("log an epoch"):
                while self.unsent:
                    connect().log_batch(run_id, metrics=self.unsent[:MAX_METRICS])
                    del self.unsent[:MAX_METRICS]

    def _end(self, status: str, gave_up: TrainingError | None = None) -> None:
        self._send()
        run_id = self._begun()
        if self.monitor is not None:
            self.monitor.finish()
        if run_id is not None:
            with _tolerated("end the run"):
                client = connect()
                if gave_up is not None:  # by its inputs it would be found again, and finished by another attempt
                    client.set_tag(run_id, GAVE_UP, str(gave_up))
                    client.delete_tag(run_id, INPUTS)
                client.set_terminated(run_id, status)


def record(
    project: str,
    candidate: str,
    *,
    dataset: Path,
    reports: Path,
    pictures: Path,
    parent: str | None,
) -> str:
    """Complete the run of a trained and scored candidate; returns its id. Doing it twice changes nothing.

    A candidate whose stage came from DVC's cache, or that trained while MLflow was away, has no run or a part of one: the run is
    made from `reports`, the folder with its training.json and scores.json. PNGs of `pictures` are logged along.
    """
    client = connect()
    experiment = _experiment(client, project)
    training = json.loads((reports / "training.json").read_text(encoding="utf-8"))
    scores = json.loads((reports / "scores.json").read_text(encoding="utf-8"))
    found = _find(client, experiment, BUNDLE, training["bundle_sha256"])
    # MLflow may have been away when the training ended: then nobody said that it has, nor with which bundle
    unended = None if found else _find(client, experiment, INPUTS, training["inputs_sha256"])
    if unended is not None:
        client.set_tag(unended.info.run_id, BUNDLE, training["bundle_sha256"])
        client.set_terminated(unended.info.run_id, "FINISHED")
        found = unended
    if found is None:
        tags = {INPUTS: training["inputs_sha256"], BUNDLE: training["bundle_sha256"], "segmodels.cached": "true"}
        tags |= {"mlflow.parentRunId": parent} if parent else {}
        run_id = _create(client, experiment, project, candidate, training["params"], dataset, tags)
        client.set_terminated(run_id, "FINISHED")
    else:
        run_id = str(found.info.run_id)
        if found.data.tags.get(TEST) == scores["test_sha256"]:
            return run_id
    known = {metric.step for metric in client.get_metric_history(run_id, "val_miou")}
    for epoch in training["epochs"]:
        if epoch["epoch"] not in known:
            client.log_batch(run_id, metrics=_epoch_metrics(epoch))
    client.log_batch(run_id, metrics=[*_test_metrics(scores), Metric(TRAINING_SECONDS, training["seconds"], _now(), 0)])
    for path in [*sorted(reports.iterdir()), *sorted(pictures.glob("*.png"))]:
        client.log_artifact(run_id, str(path), "reports")
    client.set_tag(run_id, TEST, scores["test_sha256"])  # last: a record that was cut short is made again
    return run_id


def dvc_digest(dataset: Path) -> str | None:
    """The hash under which DVC versions the dataset, as `<folder>.dvc` says; at most 36 characters. None: not versioned."""
    pointer = dataset.with_name(f"{dataset.name}.dvc")
    if not pointer.is_file():
        return None
    return str(yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0]["md5"])


def _experiment(client: MlflowClient, project: str) -> str:
    found = client.get_experiment_by_name(project)
    if found is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(project))
    except MlflowException:  # another process was faster
        found = client.get_experiment_by_name(project)
        if found is None:
            raise
        return str(found.experiment_id)


def _find(client: MlflowClient, experiment: str, tag: str, value: str) -> Run | None:
    found = client.search_runs(
        [experiment], filter_string=f"tags.`{tag}` = '{value}'", max_results=1, order_by=["attributes.start_time DESC"]
    )
    return found[0] if found else None


def _create(
    client: MlflowClient,
    experiment: str,
    project: str,
    candidate: str,
    params: dict[str, Any],
    dataset: Path,
    tags: dict[str, str],
) -> str:
    run = client.create_run(experiment, run_name=candidate, tags=tags | {"segmodels.kind": "candidate"})
    run_id = str(run.info.run_id)
    _describe(client, run_id, project, params, dataset)
    return run_id


def _describe(client: MlflowClient, run_id: str, project: str, params: dict[str, Any], dataset: Path) -> None:
    client.log_inputs(run_id, [_lineage(project, dataset, "training")])
    flat = pd.json_normalize(params, sep=".").iloc[0].to_dict()
    client.log_batch(run_id, params=[Param(str(key), str(value)) for key, value in flat.items()])


def _lineage(project: str, dataset: Path, context: str) -> DatasetInput:
    entity = MetaDataset(  # type: ignore[abstract]  # its own stubs forget `profile`
        CodeDatasetSource({"path": str(dataset)}), name=project, digest=dvc_digest(dataset) or "unversioned"
    )
    raw = entity.to_dict()
    return DatasetInput(
        DatasetEntity(
            name=raw["name"],
            digest=raw["digest"],
            source_type=raw["source_type"],
            source=raw["source"],
            profile=raw.get("profile"),
        ),
        [InputTag("mlflow.data.context", context)],
    )


def _epoch_metrics(epoch: dict[str, Any]) -> list[Metric]:
    now, step = _now(), epoch["epoch"]
    names = ("train_loss", "val_miou", "learning_rate", "seconds")
    return [Metric(name, float(epoch[name]), now, step) for name in names]


def _test_metrics(scores: dict[str, Any]) -> list[Metric]:
    now = _now()
    values = {f"test_{key}": scores[key] for key in ("miou", "pixel_accuracy", "latency_ms")}
    values |= {f"test_iou/{_metric_name(one['name'])}": one["iou"] for one in scores["classes"]}
    return [Metric(name, float(value), now, 0) for name, value in values.items() if value is not None]


def _now() -> int:
    return int(time.time() * 1000)


def _metric_name(text: str) -> str:
    """MLflow takes letters, digits and a few signs."""
    return re.sub(r"[^\w.\- ]", "_", text, flags=re.ASCII)


def _status_of(error: BaseException) -> str:
    return "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"


@contextlib.contextmanager
def _tolerated(doing: str) -> Iterator[None]:
    try:
        # MLflow rolls a transaction back for an error, but not for Ctrl-C: its database would stay locked for what comes after
        with uninterrupted():
            yield
    except FAILURES as error:
        _warn(f"MLflow at {uri()} did not {doing}; the training goes on, `make retrain` adds what is missing: {error}")


@functools.cache
def _warn(text: str) -> None:
    """Each warning once."""
    console.err.print(text, style="yellow", markup=False)
