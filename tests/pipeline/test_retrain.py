"""`make data` and `make retrain` as a person runs them, from a dataset to a champion, and what happens when things go wrong."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import safetensors.torch
import yaml
from PIL import Image

from flows import stage_graph, standing
from segmodels import bundle, params, shapes
from segmodels.predict import Predictor
from tests.conftest import PARAMS, clean_environment, make_project
from tests.pipeline.projects import MAKE, Project
from tests.pipeline.test_cli import segmodels

HALTING = str(Path(__file__).parent / "halting")
EPOCHS = 12
SMALL = PARAMS.replace("epochs: 2", f"epochs: {EPOCHS}")


@pytest.fixture(scope="module")
def fresh(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a versioned dataset of 24 images, nothing trained."""
    project = Project(make_project(tmp_path_factory.mktemp("fresh") / "project", SMALL))
    said = project.make("data", f"SOURCE={drawn}", "FORMAT=folder")
    assert "24 pairs, 5 classes, format `folder`, mostly 64 x 48" in said
    return project


@pytest.fixture(scope="module")
def retrained(fresh: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """The project after its first retraining, and what that printed."""
    project = copy(fresh, tmp_path_factory.mktemp("retrained"))
    return project, project.make("retrain")


def copy(project: Project, into: Path) -> Project:
    """Models stay where MLflow logged them, by absolute path; all else is the copy's own."""
    return Project(Path(shutil.copytree(project.folder, into / "copy", symlinks=True)))


def test_it_ends_with_a_leaderboard_and_a_champion(retrained: tuple[Project, str]) -> None:
    project, said = retrained
    ranked = project.leaderboard["candidates"]
    assert {one["name"] for one in ranked} == {"unet", "pspnet"}
    assert ranked[0]["miou"] >= ranked[1]["miou"]
    assert f"\n  epochs: {EPOCHS}\n" in said and "\n  early_stopping_patience: null\n" in said  # all it resolves to
    assert "Leaderboard on" in said
    chosen = project.leaderboard["chosen"]
    assert f"models:/tiny/1 is the champion: {chosen} is the first champion" in said and f"put forward: {chosen}" in said
    assert project.champion_sha256() == project.bundle_sha256(chosen)


def test_it_leaves_only_what_is_to_be_committed(retrained: tuple[Project, str]) -> None:
    command = ["git", "status", "--short", "--untracked-files=all"]
    left = subprocess.run(command, cwd=retrained[0].folder, capture_output=True, text=True, check=True).stdout
    assert left.splitlines() == ["?? data/raw.dvc", "?? dvc.lock"]


def test_mlflow_has_a_run_of_the_retraining_and_one_of_each_candidate(retrained: tuple[Project, str]) -> None:
    project, _ = retrained
    [parent] = project.runs("retrain")
    digest = yaml.safe_load((project.folder / "data" / "raw.dvc").read_text())["outs"][0]["md5"]
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["segmodels.verdict"].startswith("promote:")
    kept = yaml.safe_load(Path(project.client.download_artifacts(parent.info.run_id, "params.yaml")).read_text())
    assert kept["training"]["epochs"] == EPOCHS
    assert kept["training"]["early_stopping_patience"] is None  # a default that params.yaml does not say
    runs = {run.info.run_name: run for run in project.runs("candidate")}
    assert set(runs) == {"unet", "pspnet"}
    for name, run in runs.items():
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.params["architecture"] == name
        assert run.data.params["training.epochs"] == str(EPOCHS)
        assert run.data.params["training.learning_rate"] == "0.002"
        assert run.inputs is not None
        [dataset] = run.inputs.dataset_inputs
        assert dataset.dataset.digest == digest
        log = json.loads((project.folder / "reports" / name / "training.json").read_text())
        history = project.client.get_metric_history(run.info.run_id, "val_miou")
        assert [(one.step, one.value) for one in history] == [(one["epoch"], one["val_miou"]) for one in log["epochs"]]
        [entry] = [one for one in project.leaderboard["candidates"] if one["name"] == name]
        assert run.data.metrics["test_miou"] == entry["miou"]
        reports = {file.path for file in project.client.list_artifacts(run.info.run_id, "reports")}
        assert {
            "reports/scores.json",
            "reports/training.json",
            "reports/worst.png",
            "reports/confused.png",
            "reports/preview.png",
        } <= reports


def test_prefect_shows_the_leaderboard_the_progress_and_the_way_to_mlflow(retrained: tuple[Project, str]) -> None:
    database = sqlite3.connect(retrained[0].folder / ".segmodels" / "prefect" / "prefect.db")
    with database:
        rows = database.execute("select key, type, data from artifact").fetchall()
        trained = database.execute(
            "select start_time, end_time from task_run where name like 'train@%' order by start_time"
        ).fetchall()
    database.close()
    found = {key: (kind, data) for key, kind, data in rows}
    assert found["leaderboard"][0] == "table"
    assert "pspnet" in found["leaderboard"][1]
    for name in ("unet", "pspnet"):
        assert found[f"training-{name}"] == ("progress", 100)
        assert found[f"mlflow-{name}"][0] == "markdown"
    (_, first_ended), (second_started, _) = trained
    assert first_ended < second_started  # one slot where there is no GPU


LOAD = """
import sys
import mlflow, numpy
mlflow.set_tracking_uri("sqlite:///mlflow.db")
image = numpy.load(sys.argv[1])
numpy.save(sys.argv[2], mlflow.pyfunc.load_model("models:/tiny@champion").predict(image))
"""


def test_mlflow_itself_loads_the_champion(retrained: tuple[Project, str], tmp_path: Path) -> None:
    project, _ = retrained
    image = np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8)
    np.save(tmp_path / "image.npy", image)
    subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "image.npy"), str(tmp_path / "mask.npy")],
        cwd=project.folder,
        env=clean_environment(MLFLOW_ALLOW_PICKLE_DESERIALIZATION="false"),
        check=True,
    )
    best = project.folder / "bundles" / project.leaderboard["chosen"]
    assert (np.load(tmp_path / "mask.npy") == Predictor(bundle.load(best))(image)).all()


def test_nothing_changed_nothing_done(retrained: tuple[Project, str]) -> None:
    project, _ = retrained
    before = (project.runs("retrain"), project.runs("candidate"), project.versions(), project.weights("unet"))
    said = project.make("retrain")
    assert "nothing has changed, nothing to do" in said
    assert "validation mIoU" not in said
    after = (project.runs("retrain"), project.runs("candidate"), project.versions(), project.weights("unet"))
    assert [[run.info.run_id for run in runs] for runs in after[:2]] == [[run.info.run_id for run in runs] for runs in before[:2]]
    assert after[2:] == before[2:]


def test_a_dataset_that_was_being_replaced_when_the_power_went_is_back(retrained: tuple[Project, str], tmp_path: Path) -> None:
    project = copy(retrained[0], tmp_path)
    raw = project.folder / "data" / "raw"
    raw.rename(raw.with_name(".raw.partial-old"))  # where the old one waits between the two renames of a replacement
    assert "nothing has changed, nothing to do" in project.make("retrain")
    assert len(list((raw / "images").iterdir())) == 24


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # DVC's use of pygtrie
def test_other_weights_in_the_same_file_are_trained_from(
    retrained: tuple[Project, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = copy(retrained[0], tmp_path)
    monkeypatch.chdir(project.folder)
    settings, start = Path("params.yaml"), Path("start.safetensors")
    settings.write_text(SMALL.replace("architecture: pspnet", "architecture: pspnet\n    weights: start.safetensors"))
    tensors = safetensors.torch.load_file(project.folder / "bundles" / "pspnet" / bundle.WEIGHTS)
    trained = []
    for moved in (0.0, 0.01):
        changed = {name: value + moved if value.is_floating_point() else value for name, value in tensors.items()}
        safetensors.torch.save_file(changed, start)
        said = project.make("retrain")
        assert "pspnet: epoch 1 of" in said and "unet: epoch 1 of" not in said
        trained.append(project.weights("pspnet"))
    assert trained[0] != trained[1]
    assert standing.begun_from_files(params.read(settings)) == {"train@pspnet": False}
    # had the params changed and changed back, DVC's cache of runs would have what another file came to
    settings.write_text(settings.read_text().replace(f"epochs: {EPOCHS}", f"epochs: {EPOCHS + 1}"))
    options = {stage.name: stage.options for stage in stage_graph.stale({"train@pspnet": False})}
    assert (options["train@pspnet"], options["train@unet"]) == (("--no-run-cache",), ())


@pytest.mark.slow
def test_a_grown_dataset_is_trained_on_and_the_test_set_only_grows(
    retrained: tuple[Project, str], drawn: Path, tmp_path: Path
) -> None:
    project = copy(retrained[0], tmp_path)
    manifest = project.folder / "data" / "prepared" / "manifest.parquet"
    before = pd.read_parquet(manifest)
    grown = tmp_path / "grown"
    shutil.copytree(drawn, grown)
    for seed in range(8):
        drawing = shapes.draw(size_px=(48, 64), seed=1000 + seed)
        Image.fromarray(drawing.image).save(grown / "images" / f"later_{seed}.png")
        Image.fromarray(drawing.mask).save(grown / "masks" / f"later_{seed}.png")
    project.make("data", f"SOURCE={grown}")
    said = project.make("retrain")
    assert "nothing has changed" not in said
    after = pd.read_parquet(manifest)
    assert len(after) == 32
    assert set(before.loc[before["split"] == "test", "id"]) <= set(after.loc[after["split"] == "test", "id"])
    assert project.versions() == ["1", "2"]
    # the champion is scored again on the test images of today
    receipt = json.loads((project.folder / "reports" / "promotion.json").read_text())
    assert (receipt["version"], receipt["champion"]) == ("2", "1") and receipt["reason"] in said
    assert receipt["clusters"] == len(after[after["split"] == "test"]["scene"].unique())
    assert {kind: count for kind, count in receipt["data"].items() if count} == {"added": 8}


def test_its_history_is_told_and_the_first_champion_has_none_before_it(retrained: tuple[Project, str]) -> None:
    project = retrained[0]
    told = project.make("history")
    assert "champion" in told and "is the first champion" in " ".join(told.split())
    assert "version 1 was the first champion; name one" in project.make("rollback", code=2)


def test_what_the_gate_can_show_is_simulated(retrained: tuple[Project, str]) -> None:
    told = segmodels("simulate-gate", "--years", "2", cwd=retrained[0].folder).stdout
    assert "independent parts of the test images, where" in told and "evidence" in told and "not worse" in told
    wrong = segmodels("simulate-gate", "unet", "vnet", cwd=retrained[0].folder, code=2).stderr
    assert "['unet', 'vnet'] are not two that were evaluated" in wrong and "Traceback" not in wrong


@pytest.mark.slow
def test_a_candidate_that_fails_does_not_stop_the_others(retrained: tuple[Project, str], tmp_path: Path) -> None:
    project = copy(retrained[0], tmp_path)
    wild = SMALL.replace(
        "options: {channels: 32, depth: 2}", "options: {channels: 32, depth: 2}\n    training: {learning_rate: 1.0e+30}"
    )
    (project.folder / "params.yaml").write_text(wild)
    said = project.make("retrain", code=2)  # make's own code for a target that failed
    assert "train@pspnet: the loss became" in said
    assert "Traceback" not in said
    assert [one["name"] for one in project.leaderboard["candidates"]] == ["unet"]
    [missing] = project.leaderboard["not_ranked"]
    assert missing["name"] == "pspnet"
    states = [run.info.status for run in project.runs("candidate") if run.info.run_name == "pspnet"]
    assert sorted(states) == ["FAILED", "FINISHED"]  # tried once: another try would end the same way
    assert project.runs("retrain")[0].info.status == "FAILED"
    (project.folder / "params.yaml").write_text(SMALL)
    assert "validation mIoU" not in project.make("retrain")  # what DVC's cache has is not trained again
    assert {one["name"] for one in project.leaderboard["candidates"]} == {"unet", "pspnet"}


def test_a_mistake_in_params_stops_before_any_work(fresh: Project, tmp_path: Path) -> None:
    project = copy(fresh, tmp_path)
    (project.folder / "params.yaml").write_text(SMALL.replace("resnet18", "resnet81", 1))
    said = project.make("retrain", code=2)
    assert "candidates.unet: encoder: 'resnet81' does not fit" in said
    assert "Traceback" not in said
    assert not (project.folder / "mlflow.db").exists()
    assert not (project.folder / "dvc.lock").exists()


def test_without_a_dataset_it_says_how_to_bring_one_in(tmp_path: Path) -> None:
    project = Project(make_project(tmp_path / "project", SMALL))
    assert "data/raw: there is no dataset; `make data SOURCE=<folder> FORMAT=<name>`" in project.make("retrain", code=2)


def test_a_damaged_image_is_named_and_the_last_champion_stays(retrained: tuple[Project, str], tmp_path: Path) -> None:
    project = copy(retrained[0], tmp_path)
    image = project.folder / "data" / "raw" / "images" / "shapes_00003.png"
    image.write_bytes(image.read_bytes()[:-30])
    said = project.make("retrain", code=2)
    assert "shapes_00003.png: cannot be read" in said
    assert "Traceback" not in said
    assert project.versions() == ["1"]
    assert project.champion_sha256() == retrained[0].champion_sha256()


@contextlib.contextmanager
def retraining(project: Project, **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """A retraining on its way, in a process group of its own."""
    process = subprocess.Popen(
        [*MAKE, "retrain"],
        cwd=project.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # DVC runs stages with SHELL, or with sh where it is not set; sh may stay between them, which bash never does
        env=clean_environment(PYTHONUNBUFFERED="1", SHELL="/bin/sh", **variables),
        start_new_session=True,
    )
    with process:  # closes its output
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(process: "subprocess.Popen[str]", text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"it ended without {text!r}")


@contextlib.contextmanager
def halted(process: "subprocess.Popen[str]") -> Iterator[None]:
    """All its processes stand still in the block, which begins when a training's second epoch is saved; it was started with HALTING."""
    state = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert state is not None
    assert state.si_code == os.CLD_STOPPED
    yield
    os.killpg(process.pid, signal.SIGCONT)


def find(process: "subprocess.Popen[str]", *words: str) -> psutil.Process:
    """The one descendant with these words in its command line."""
    [found] = [child for child in psutil.Process(process.pid).children(recursive=True) if set(words) <= set(child.cmdline())]
    return found


def runs(process: psutil.Process) -> bool:
    """Not so a zombie, which orphans stay in a container whose first process does not wait for them."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_ended(*processes: psutil.Process, within_s: float = 20) -> None:
    until = time.monotonic() + within_s
    while running := [one for one in processes if runs(one)]:
        assert time.monotonic() < until, running
        time.sleep(0.05)


@pytest.mark.slow
def test_killed_trainings_go_on_within_the_same_retraining(
    fresh: Project, retrained: tuple[Project, str], tmp_path: Path
) -> None:
    project = copy(fresh, tmp_path)
    killed = []
    with retraining(project, PYTHONPATH=HALTING) as process:
        with halted(process):
            trainer = find(process, "train")
            killed.append(trainer.cmdline()[-1])
            trainer.kill()
        with halted(process):
            trainer = find(process, "train")
            killed.append(trainer.cmdline()[-1])
            find(process, "repro").kill()
        wait_until_ended(trainer)  # no training outlives the dvc that started it
        rest = process.communicate()[0]
    assert process.returncode == 0, rest
    assert sorted(killed) == ["pspnet", "unet"]
    for name in killed:
        assert f"{name}: goes on after epoch 2" in rest
        assert project.weights(name) == retrained[0].weights(name)
    # the one that is put forward may be the other: of two as good the one that was faster
    assert project.champion_sha256() == retrained[0].bundle_sha256(project.leaderboard["chosen"])


@pytest.mark.slow
def test_after_ctrl_c_and_after_a_kill_the_next_goes_on(fresh: Project, retrained: tuple[Project, str], tmp_path: Path) -> None:
    project = copy(fresh, tmp_path)
    with retraining(project) as process:
        wait_for(process, "unet: epoch 2 of")
        started = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        rest = process.communicate(timeout=60)[0]
    assert process.returncode != 0
    wait_until_ended(*started)
    assert "interrupted; run the same again to go on" in rest
    assert "Traceback" not in rest
    assert [run.info.status for run in project.runs("retrain")] == ["KILLED"]

    with retraining(project, PYTHONPATH=HALTING) as process:
        with halted(process):  # in the other training: the first is beyond its second epoch
            started = psutil.Process(process.pid).children(recursive=True)
            assert {"uvicorn", "repro", "train", "pspnet"} <= {word for child in started for word in child.cmdline()}
            find(process, "flows.retrain").kill()
        rest = process.communicate(timeout=60)[0]
    assert process.returncode != 0
    assert "unet: goes on after epoch" in rest
    wait_until_ended(*started)  # nothing outlives the flow

    assert "pspnet: goes on after epoch 2" in project.make("retrain")
    for name in ("unet", "pspnet"):
        assert project.weights(name) == retrained[0].weights(name)
    assert project.versions() == ["1"]
    # the one that is put forward may be the other: of two as good the one that was faster
    assert project.champion_sha256() == retrained[0].bundle_sha256(project.leaderboard["chosen"])
