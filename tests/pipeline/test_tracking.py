"""Records in a real MLflow database: complete, each once, and never in a training's way."""

import json
import shutil
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from segmodels import records, tracking
from segmodels.errors import TrainingError
from segmodels.store import Store

PARAMS = {"architecture": "unet", "training": {"epochs": 3}}


def epoch(number: int) -> dict[str, Any]:
    return {"epoch": number, "train_loss": 1.0 / number, "val_miou": 0.1 * number, "learning_rate": 0.01, "seconds": 2.0}


@pytest.fixture(autouse=True)
def database(empty_records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_records, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.delenv(tracking.PARENT, raising=False)
    tracking._warn.cache_clear()


def candidate(tmp_path: Path) -> tracking.CandidateRun:
    return tracking.CandidateRun("p", "unet", params=PARAMS, dataset=tmp_path / "raw")


def runs() -> list[Run]:
    client = tracking.connect()
    experiment = client.get_experiment_by_name("p")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def history(run: Run, metric: str) -> list[tuple[int, float]]:
    return [(one.step, one.value) for one in tracking.connect().get_metric_history(run.info.run_id, metric)]


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    """What the stages leave of a training of three epochs."""
    folder = tmp_path / "reports"
    folder.mkdir()
    log = {
        "inputs_sha256": "i" * 64,
        "params": PARAMS,
        "seconds": 6.0,
        "bundle_sha256": "b" * 64,
        "epochs": [epoch(n) for n in (1, 2, 3)],
    }
    scores = {
        "miou": 0.4,
        "pixel_accuracy": 0.7,
        "latency_ms": 3.0,
        "test_sha256": "t" * 64,
        "classes": [{"name": "sky & sea", "iou": 0.4}, {"name": "never seen", "iou": None}],
    }
    (folder / "training.json").write_text(json.dumps(log))
    (folder / "scores.json").write_text(json.dumps(scores))
    return folder


def record(reports: Path, parent: str | None = None) -> str:
    pictures = reports / "none"
    return tracking.record("p", "unet", dataset=Path("raw"), reports=reports, pictures=pictures, parent=parent)


def test_a_training_is_one_run_with_all_its_epochs(tmp_path: Path, reports: Path) -> None:
    one = candidate(tmp_path)
    with one.recorded():
        one.start("i" * 64)
        for number in (1, 2, 3):
            one.epoch(epoch(number))
        one.trained("b" * 64)
    record(reports)
    [run] = runs()
    assert run.info.status == "FINISHED"
    assert run.data.params == {"architecture": "unet", "training.epochs": "3"}
    assert history(run, "train_loss") == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert run.data.metrics["test_miou"] == 0.4
    assert run.data.metrics["test_iou/sky _ sea"] == 0.4
    assert "test_iou/never seen" not in run.data.metrics  # undefined is not 0


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_training_that_was_interrupted_goes_on_in_its_run(tmp_path: Path, error: type[BaseException], status: str) -> None:
    def interrupted() -> None:
        one = candidate(tmp_path)
        with one.recorded():
            one.start("i" * 64)
            one.epoch(epoch(1))
            raise error

    with pytest.raises(error):
        interrupted()
    assert [run.info.status for run in runs()] == [status]
    again = candidate(tmp_path)
    with again.recorded():
        again.start("i" * 64)
        again.epoch(epoch(2))
    [run] = runs()
    assert run.info.status == "FINISHED"
    assert [step for step, _ in history(run, "val_miou")] == [1, 2]


def test_a_training_that_was_given_up_stays_failed_whatever_comes_after(tmp_path: Path) -> None:
    def given_up() -> None:
        one = candidate(tmp_path)
        with one.recorded():
            one.start("i" * 64)
            one.epoch(epoch(1))
            raise TrainingError("the loss became nan in step 3 of epoch 2")

    with pytest.raises(TrainingError):
        given_up()
    [failed] = runs()
    assert (failed.info.status, failed.data.tags["segmodels.gave_up"]) == ("FAILED", "the loss became nan in step 3 of epoch 2")
    again = candidate(tmp_path)
    with again.recorded():
        again.start("i" * 64)
        again.trained("b" * 64)
    assert {run.info.run_id: run.info.status for run in runs()} == {failed.info.run_id: "FAILED", again.run_id: "FINISHED"}
    assert "segmodels.bundle_sha256" not in next(run for run in runs() if run.info.status == "FAILED").data.tags


def test_the_machines_load_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    one = candidate(tmp_path)
    with one.recorded():
        one.start("i" * 64)
        deadline = time.monotonic() + 30
        while "system/cpu_utilization_percentage" not in runs()[0].data.metrics and time.monotonic() < deadline:
            time.sleep(0.1)
    assert "system/cpu_utilization_percentage" in runs()[0].data.metrics


def test_other_inputs_are_another_run(tmp_path: Path) -> None:
    for digest in ("i" * 64, "j" * 64):
        one = candidate(tmp_path)
        with one.recorded():
            one.start(digest)
    assert len(runs()) == 2


def test_mlflow_away_does_not_stop_a_training_and_nothing_is_missing_later(
    tmp_path: Path, reports: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'no' / 'folder' / 'mlflow.db'}")
        (tmp_path / "no").write_text("a file where a folder should be")
        one = candidate(tmp_path)
        with one.recorded():
            one.start("i" * 64)
            one.epoch(epoch(1))
            one.trained("b" * 64)
    assert "the training goes on, `make retrain` adds what is missing" in capsys.readouterr().err
    record(reports)
    [run] = runs()
    assert [step for step, _ in history(run, "val_miou")] == [1, 2, 3]


def test_mlflow_away_for_the_last_epochs_gets_them_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, there = candidate(tmp_path), tracking.uri()
    with one.recorded():
        one.start("i" * 64)
        one.epoch(epoch(1))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        one.epoch(epoch(2))
        one.epoch(epoch(3))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", there)
    # before `record`, which never comes where the evaluation fails
    assert [step for step, _ in history(runs()[0], "val_miou")] == [1, 2, 3]


def test_mlflow_away_at_the_end_leaves_no_run_that_seems_to_go_on(
    tmp_path: Path, reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, there = candidate(tmp_path), tracking.uri()
    with one.recorded():
        one.start("i" * 64)
        one.epoch(epoch(1))
        (tmp_path / "no").write_text("a file where a folder should be")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'no' / 'mlflow.db'}")
        one.epoch(epoch(2))
        one.epoch(epoch(3))
        one.trained("b" * 64)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", there)
    assert runs()[0].info.status == "RUNNING"
    record(reports)
    [run] = runs()
    assert (run.info.status, run.data.tags[tracking.BUNDLE]) == ("FINISHED", "b" * 64)
    assert [step for step, _ in history(run, "val_miou")] == [1, 2, 3]


def test_mlflow_away_at_the_start_gets_all_when_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, there = candidate(tmp_path), tracking.uri()
    with one.recorded():
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        one.start("i" * 64)
        one.epoch(epoch(1))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", there)
        one.epoch(epoch(2))
        one.trained("b" * 64)
    [run] = runs()
    assert run.info.status == "FINISHED"
    assert run.data.params == {"architecture": "unet", "training.epochs": "3"}
    assert run.data.tags[tracking.BUNDLE] == "b" * 64
    assert [step for step, _ in history(run, "val_miou")] == [1, 2]


def test_mlflow_gone_while_a_run_was_begun_has_its_params_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = candidate(tmp_path)
    with one.recorded():
        with monkeypatch.context() as gone:
            gone.setattr(MlflowClient, "log_batch", Mock(side_effect=MlflowException("gone")))
            one.start("i" * 64)
            assert not runs()[0].data.params
        one.epoch(epoch(1))
    [run] = runs()
    assert run.data.params == {"architecture": "unet", "training.epochs": "3"}
    assert run.inputs is not None and len(run.inputs.dataset_inputs) == 1
    assert [step for step, _ in history(run, "val_miou")] == [1]


def test_recording_twice_changes_nothing(reports: Path) -> None:
    assert record(reports) == record(reports)
    [run] = runs()
    assert history(run, "val_miou") == [(1, 0.1), (2, 0.2), (3, pytest.approx(0.3))]
    assert history(run, "test_miou") == [(0, 0.4)]


def test_new_test_images_are_scored_into_the_same_run(reports: Path) -> None:
    record(reports)
    scores = json.loads((reports / "scores.json").read_text()) | {"test_sha256": "u" * 64, "miou": 0.5}
    (reports / "scores.json").write_text(json.dumps(scores))
    record(reports)
    [run] = runs()
    assert run.data.metrics["test_miou"] == 0.5
    assert len(history(run, "val_miou")) == 3


def test_the_digest_of_a_dataset_is_dvcs(tmp_path: Path) -> None:
    assert tracking.dvc_digest(tmp_path / "raw") is None
    (tmp_path / "raw.dvc").write_text("outs:\n- md5: 0123456789abcdef0123456789abcdef.dir\n  path: raw\n")
    assert tracking.dvc_digest(tmp_path / "raw") == "0123456789abcdef0123456789abcdef.dir"


def test_a_retraining_is_read_as_it_was_written(tmp_path: Path, prepared: Path, reports: Path) -> None:
    for number, started in enumerate(("by the clock", "by hand")):
        with tracking.retrain_run("p", params={}, dataset=tmp_path / "raw", started=started) as run_id:
            tracking.note_stages(run_id, {"prepare": {"why": "new images", "seconds": 2.5, "failed": False}})
            tracking.conclude(run_id, reports=reports, prepared=prepared, verdict=f"keep: no better, {number}")
    hand, clock = records.retrains("p")
    assert (hand.started, hand.outcome, hand.reason, hand.status) == ("by hand", "keep", "no better, 1", "FINISHED")
    assert clock.began <= hand.began and hand.seconds is not None and hand.seconds < 60
    assert (records.report(clock.run_id, tracking.STAGES) or {})["prepare"] == {
        "why": "new images",
        "seconds": 2.5,
        "failed": False,
    }
    assert records.report(clock.run_id, "reports/leaderboard.json") is None  # nothing was compared
    # the same dataset is noted once, by the first that ran on it
    assert clock.manifest is not None and hand.manifest is None
    found = records.prepared(clock.run_id)
    assert found is not None and found.class_names[0] == "background"
    assert found.manifest["id"].tolist() == Store(prepared).manifest["id"].tolist()
    assert records.prepared(hand.run_id) is None


def test_one_that_is_under_way_or_failed_is_told_as_that(tmp_path: Path) -> None:
    with tracking.retrain_run("p", params={}, dataset=tmp_path / "raw", started="by hand"):
        [running] = records.retrains("p")
    assert (running.outcome, running.seconds, running.reason) == ("running", None, "")
    with pytest.raises(RuntimeError), tracking.retrain_run("p", params={}, dataset=tmp_path / "raw", started="by hand"):
        raise RuntimeError
    assert records.retrains("p")[0].outcome == "failed"
    assert records.retrains("another") == []


def test_a_candidates_run_is_read_with_what_people_have_noted(tmp_path: Path, reports: Path) -> None:
    run_id = tracking.record("p", "unet", dataset=tmp_path / "raw", reports=reports, pictures=tmp_path, parent="r" * 32)
    tracking.connect().set_tag(run_id, "labelled by", "two people")
    [found] = records.candidate_runs("p")
    assert (found.name, found.retrain, found.bundle) == ("unet", "r" * 32, "b" * 64)
    assert found.params["training.epochs"] == "3" and found.metrics["training_seconds"] == 6.0
    assert found.tags == {"labelled by": "two people"} and found.gave_up is None


def test_a_run_has_a_page_where_a_server_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking.page("3", "abc") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000/")
    assert tracking.page("3", "abc") == "http://127.0.0.1:5000/#/experiments/3/runs/abc"
