"""`segmodels train`, the program itself, brought to an end: by memory that runs out, a loss that is no number, Ctrl-C."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from segmodels import checkpoints
from tests.conftest import PARAMS, clean_environment
from tests.pipeline.test_cli import segmodels

UNET = PARAMS[: PARAMS.index("  pspnet:\n")]
WITH_LITTLE_MEMORY = """
import sys
import lightning.pytorch, torch._dynamo
import segmodels.decisions, segmodels.progress, segmodels.tracking, segmodels.train
from segmodels import memory
from segmodels.__main__ import main

memory.available_bytes = lambda: {mib} * 2**20
sys.argv = ["segmodels", "train", "unet"]
main()
"""
"""A machine that has so many MiB left when the training begins, beyond what the program's modules took."""


def prepared_project(folder: Path, drawn: Path, training: str) -> Path:
    (folder / "params.yaml").write_text(f"{UNET}training: {{{training}, seed: 0, export: none}}\n")
    (folder / "data").mkdir()
    (folder / "data" / "raw").symlink_to(drawn)
    segmodels("prepare", cwd=folder)
    segmodels("augment", "light", cwd=folder)
    return folder


def run_statuses(folder: Path) -> list[str]:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return [run.info.status for run in client.search_runs([experiment.experiment_id])]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_when_memory_runs_out_it_goes_on_with_less_at_once(drawn: Path, tmp_path: Path) -> None:
    # 400 MiB allow one image at once, 450 two, 650 to 1000 four, 1100 all eight; a CPU of another kind needs more or less
    size = "size_px: [384, 384], epochs: 1, batch_size: 8, learning_rate: 0.002, precision: fp32"
    folder = prepared_project(tmp_path, drawn, size)
    done = subprocess.run(
        [sys.executable, "-c", WITH_LITTLE_MEMORY.format(mib=750)],
        cwd=folder,
        capture_output=True,
        text=True,
        env=clean_environment(
            ARROW_DEFAULT_MEMORY_POOL="system",  # pyarrow would take a GiB of addresses in advance
            MALLOC_ARENA_MAX="1",  # each thread would take memory of its own
            MALLOC_MMAP_THRESHOLD_="131072",  # what is freed would stay in pieces between what is not, more or less of it each time
            OMP_NUM_THREADS="2",
            COLUMNS="200",
        ),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert re.search(r"unet: out of memory with 8 images at once; goes on with 4, 2 times before each step", said), said
    assert "unet: epoch 1 of 1: loss" in said
    assert (folder / "bundles" / "unet" / "bundle.json").is_file()


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_it_and_the_run_is_marked_failed(drawn: Path, tmp_path: Path) -> None:
    folder = prepared_project(
        tmp_path, drawn, "size_px: [32, 64], epochs: 30, batch_size: 4, learning_rate: 1.0e+30, precision: fp32"
    )
    said = segmodels("train", "unet", cwd=folder, code=2).stderr
    assert re.search(r"the loss became (nan|inf) in step \d of epoch 1 \(no epoch was done\)", said), said
    assert "lower training.learning_rate (is 1e+30)" in said
    assert "Traceback" not in said, said
    assert not (folder / "bundles").exists()
    assert run_statuses(folder) == ["FAILED"]


@pytest.mark.slow
def test_it_goes_on_when_the_shell_that_started_it_has_ended(drawn: Path, tmp_path: Path) -> None:
    folder = prepared_project(
        tmp_path, drawn, "size_px: [32, 64], epochs: 1, batch_size: 4, learning_rate: 0.002, precision: fp32"
    )
    command = f"{sys.executable} -m segmodels train unet > said.txt 2>&1 &"
    subprocess.run(["sh", "-c", command], cwd=folder, env=clean_environment(), check=True)
    said, until = folder / "said.txt", time.monotonic() + 120
    while not (folder / "bundles" / "unet" / "bundle.json").is_file():
        assert time.monotonic() < until, said.read_text()
        time.sleep(0.1)


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_from_which_it_ends_as_if_unbroken(drawn: Path, tmp_path: Path) -> None:
    training = "size_px: [32, 64], epochs: 12, batch_size: 4, learning_rate: 0.002, precision: fp32"
    weights = {}
    for name in ("unbroken", "broken"):
        (tmp_path / name).mkdir()
        folder = prepared_project(tmp_path / name, drawn, training)
        if name == "broken":
            with subprocess.Popen(
                [sys.executable, "-m", "segmodels", "train", "unet"],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=clean_environment(PYTHONUNBUFFERED="1", COLUMNS="200"),
            ) as process:
                assert process.stdout is not None
                assert process.stderr is not None
                next(line for line in process.stdout if "epoch 2 of 12" in line)
                process.send_signal(signal.SIGINT)
                said, printed = process.stderr.read(), process.stdout.read()
                assert process.wait(60) == 130, said
            assert "Traceback" not in said, said
            assert re.search(r"^unet: what it has learned is saved: up to epoch [2-9]", printed, re.MULTILINE), printed
            assert list((folder / ".segmodels" / "checkpoints").rglob(checkpoints.LAST))
            assert not (folder / "bundles").exists()
            assert run_statuses(folder) == ["KILLED"]
        assert ("goes on after epoch" in segmodels("train", "unet", cwd=folder).stdout) == (name == "broken")
        weights[name] = (folder / "bundles" / "unet" / "model.safetensors").read_bytes()
    assert weights["broken"] == weights["unbroken"]
