"""A retraining against servers of one's own: MLflow and Prefect, on loopback."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.conftest import PARAMS, clean_environment, free_port, make_project
from tests.pipeline.projects import Project


def start(*command: str, health: str, folder: Path, **environment: str) -> "subprocess.Popen[bytes]":
    """Start a server and wait until it answers."""
    log = (folder / "server.log").open("wb")
    settings = clean_environment(PREFECT_HOME=str(folder), PREFECT_SERVER_ANALYTICS_ENABLED="false", **environment)
    process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=settings, start_new_session=True)
    log.close()
    for _ in range(240):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(health, timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return process
    stop(process)
    raise AssertionError((folder / "server.log").read_text())


def stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def start_mlflow(port: int, folder: Path) -> "subprocess.Popen[bytes]":
    """An MLflow server whose records are in the folder; started again there, it has them again."""
    return start(
        str(Path(sys.prefix) / "bin" / "mlflow"),
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--backend-store-uri",
        "sqlite:///mlflow.db",
        "--artifacts-destination",
        str(folder / "artifacts"),
        health=f"http://127.0.0.1:{port}/health",
        folder=folder,
    )


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables that name a running MLflow server and a running Prefect server."""
    mlflow, prefect = free_port(), free_port()
    folders = [tmp_path / name for name in ("mlflow", "prefect")]
    for folder in folders:
        folder.mkdir()
    processes = []
    try:
        processes.append(start_mlflow(mlflow, folders[0]))
        processes.append(
            start(
                str(Path(sys.prefix) / "bin" / "prefect"),
                "server",
                "start",
                "--host",
                "127.0.0.1",
                "--port",
                str(prefect),
                health=f"http://127.0.0.1:{prefect}/api/health",
                folder=folders[1],
            )
        )
        yield {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{mlflow}", "PREFECT_API_URL": f"http://127.0.0.1:{prefect}/api"}
    finally:
        for process in processes:
            stop(process)


def ask(address: str, question: dict[str, Any]) -> Any:
    request = urllib.request.Request(address, json.dumps(question).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_the_servers_have_it_all(servers: dict[str, str], drawn: Path, tmp_path: Path) -> None:
    project = Project(make_project(tmp_path / "project", PARAMS + "resources: {slots: 2}\n"))  # both trainings at once
    project.make("data", f"SOURCE={drawn}")
    for server in ("MLflow at", "Prefect at"):
        assert f"ok    {server}" in project.make("doctor", environment=servers)
    said = project.make("retrain", environment=servers)
    assert "models:/tiny/1 is the champion" in said
    assert not (project.folder / "mlflow.db").exists()
    mlflow = servers["MLFLOW_TRACKING_URI"]
    champion = MlflowClient(tracking_uri=mlflow, registry_uri=mlflow).get_model_version_by_alias("tiny", "champion")
    assert champion.tags["segmodels.bundle_sha256"] == project.bundle_sha256(project.leaderboard["chosen"])
    [run] = ask(f"{servers['PREFECT_API_URL']}/flow_runs/filter", {"flows": {"name": {"any_": ["retrain"]}}})
    assert run["state_type"] == "COMPLETED"
    trainings = ask(f"{servers['PREFECT_API_URL']}/task_runs/filter", {"task_runs": {"name": {"like_": "train@"}}})
    assert {one["name"] for one in trainings} == {"train@unet", "train@pspnet"}
    assert max(one["start_time"] for one in trainings) < min(one["end_time"] for one in trainings)  # two slots: at once
    artifacts = {one["key"]: one["data"] for one in ask(f"{servers['PREFECT_API_URL']}/artifacts/filter", {})}
    assert {"leaderboard", "training-unet", "training-pspnet"} <= set(artifacts)
    assert f"{mlflow}/#/experiments/" in artifacts["mlflow-unet"]
    assert "nothing has changed" in project.make("retrain", environment=servers)


@pytest.mark.slow
def test_mlflow_dies_in_a_training_and_comes_back_and_no_epoch_is_missing(drawn: Path, tmp_path: Path) -> None:
    port, records, project = free_port(), tmp_path / "mlflow", tmp_path / "project"
    for folder in (records, project / "data"):
        folder.mkdir(parents=True)
    (project / "data" / "raw").symlink_to(drawn)
    (project / "params.yaml").write_text(PARAMS.replace("epochs: 2", "epochs: 12"))
    program = [sys.executable, "-u", "-m", "segmodels"]
    for verb in (["prepare"], ["augment", "light"]):
        subprocess.run([*program, *verb], cwd=project, check=True, capture_output=True)
    address = f"http://127.0.0.1:{port}"
    server = start_mlflow(port, records)
    try:
        with subprocess.Popen(
            [*program, "train", "pspnet"],
            cwd=project,
            env=clean_environment(MLFLOW_TRACKING_URI=address),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as training:
            assert training.stdout is not None
            for line in training.stdout:
                if "epoch 3 of" in line:
                    os.killpg(server.pid, signal.SIGKILL)
                    server.wait()
                if "epoch 7 of" in line:
                    training.send_signal(signal.SIGSTOP)  # it would be done before the server is there
                    server = start_mlflow(port, records)
                    training.send_signal(signal.SIGCONT)
        assert training.returncode == 0
        client = MlflowClient(tracking_uri=address)
        experiment = client.get_experiment_by_name("tiny")
        assert experiment is not None
        [run] = client.search_runs([experiment.experiment_id])
        log = json.loads((project / "reports" / "pspnet" / "training.json").read_text())
        for name in ("val_miou", "train_loss"):
            history = client.get_metric_history(run.info.run_id, name)
            assert [(one.step, one.value) for one in history] == [(one["epoch"], one[name]) for one in log["epochs"]]
        assert len(log["epochs"]) == 12
    finally:
        stop(server)
