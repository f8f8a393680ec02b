"""One model trained by two processes together, as on two GPUs: gloo and the CPU, the real program."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import safetensors.torch
import torch
from mlflow import MlflowClient
from mlflow.entities import Run

from segmodels import bundle, checkpoints, device, fitting, network
from segmodels.fitting import STRATEGIES
from segmodels.params import Training
from segmodels.plan import Settings
from tests.conftest import PARAMS, clean_environment

# no batch normalisation, whose statistics are of each process's share, and no void, whose pixels are not shared evenly
ALONE = """
project: tiny
dataset: {format: auto}
classes: auto
splits: {method: auto}
augmentations: {light: {recipe: light, affine: 0}}
candidates:
  fcn:
    architecture: fcn
    encoder: convnext_atto
    loss: {name: cross_entropy}
    schedule: {name: cosine}
    augmentation: light
training: {size_px: [32, 64], epochs: 3, batch_size: 4, micro_batch_size: 1, learning_rate: 0.001, gradient_clip: 0.1, seed: 0, precision: fp32, devices: 1, export: none}
"""


def run(project: Path, *verb: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "segmodels", *verb],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=clean_environment(LOCAL_RANK="1"),  # as some launcher may have left it: not ours, so of no account
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def database(project: Path) -> str:
    return f"sqlite:///{project / 'mlflow.db'}"


def runs(project: Path, inputs_sha256: str) -> list[Run]:
    client = MlflowClient(database(project))
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return list(
        client.search_runs([experiment.experiment_id], filter_string=f"tags.`segmodels.inputs_sha256` = '{inputs_sha256}'")
    )


@pytest.fixture(scope="module")
def project(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("devices")
    (folder / "data").mkdir()
    (folder / "data" / "raw").symlink_to(drawn)
    (folder / "params.yaml").write_text(ALONE)
    run(folder, "prepare")
    run(folder, "augment", "light")
    return folder


@pytest.mark.slow
def test_two_processes_train_as_one_would(project: Path) -> None:
    weights, logs = [], []
    for devices in ("1", "2", "2, strategy: ddp_bf16"):
        (project / "params.yaml").write_text(ALONE.replace("devices: 1", f"devices: {devices}"))
        said = run(project, "train", "fcn")
        assert said.count("fcn: epoch 3 of 3: loss") == 1  # told by one of them
        assert "arning" not in said
        weights.append(safetensors.torch.load_file(project / "bundles" / "fcn" / bundle.WEIGHTS))
        logs.append(json.loads((project / "reports" / "fcn" / "training.json").read_text()))
    # together they take no more threads than one does alone
    threads = [int(log["device"].rpartition(", ")[2].removesuffix(" threads")) for log in logs]
    assert threads[1:] == [max(1, threads[0] // 2)] * 2
    # equal but for the order in which gradients are added
    for name, value in weights[0].items():
        assert torch.allclose(weights[1][name], value, atol=1e-4), name
        # their gradients were rounded on the way; nine steps of Adam move a weight ten times as far
        assert (weights[2][name] - value).abs().mean() < 5e-4, name
    assert any(not torch.equal(weights[2][name], value) for name, value in weights[1].items())
    for alone, together, rounded in zip(*(log["epochs"] for log in logs), strict=True):
        assert together["train_loss"] == pytest.approx(alone["train_loss"], rel=1e-4)
        assert rounded["train_loss"] == pytest.approx(alone["train_loss"], rel=1e-2)
        assert together["val_miou"] == pytest.approx(alone["val_miou"], abs=0.01)
    assert logs[0]["inputs_sha256"] != logs[1]["inputs_sha256"]
    for log in logs:  # one of them records, each epoch once
        [recorded] = runs(project, log["inputs_sha256"])
        assert recorded.info.status == "FINISHED"
        for metric in ("train_loss", "val_miou"):
            history = MlflowClient(database(project)).get_metric_history(recorded.info.run_id, metric)
            assert [(one.step, one.value) for one in history] == [(one["epoch"], one[metric]) for one in log["epochs"]]


@pytest.mark.slow
def test_with_normalisation_and_frozen_epochs_two_processes_learn_too(project: Path) -> None:
    text = PARAMS.replace(
        "epochs: 2,", "epochs: 8, devices: 2, freeze_encoder_epochs: 1, ema_decay: 0.9, early_stopping_patience: 4,"
    )
    (project / "params.yaml").write_text(text)
    run(project, "train", "pspnet")
    epochs = json.loads((project / "reports" / "pspnet" / "training.json").read_text())["epochs"]
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"]


@pytest.mark.slow
def test_weights_that_no_logit_depends_on_keep_nobody_waiting(project: Path) -> None:
    """EfficientNet comes with a convolution after its last features."""
    text = ALONE.replace("devices: 1", "devices: 2").replace("convnext_atto", "efficientnet-b0")
    (project / "params.yaml").write_text(text)
    assert "fcn: epoch 3 of 3: loss" in run(project, "train", "fcn")


def test_every_strategy_that_params_take_there_is() -> None:
    assert set(STRATEGIES) == set(get_args(Training.model_fields["strategy"].annotation))
    assert set(STRATEGIES) == set(get_args(get_type_hints(Settings)["strategy"]))


@pytest.mark.slow
def test_killed_inside_an_epoch_two_processes_end_as_if_unbroken(project: Path) -> None:
    text = ALONE.replace("devices: 1", "devices: 2, checkpoint_steps: 1").replace("epochs: 3", "epochs: 6")
    (project / "params.yaml").write_text(text)
    found = []
    for killed in (False, True):
        shutil.rmtree(project / ".segmodels", ignore_errors=True)
        if killed:
            command = [sys.executable, "-u", "-m", "segmodels", "train", "fcn"]
            with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True, env=clean_environment()) as process:
                assert process.stdout is not None
                next(line for line in process.stdout if "epoch 2 of 6" in line)
                checkpoint = next((project / ".segmodels").rglob(checkpoints.LAST))
                before = checkpoint.stat().st_mtime_ns
                while checkpoint.stat().st_mtime_ns == before:  # the first part of the third epoch
                    assert process.poll() is None
                    time.sleep(0.001)
                process.kill()
            shutil.rmtree(project / "bundles")
        said = run(project, "train", "fcn")
        assert ("fcn: goes on after epoch" in said) == killed
        log = json.loads((project / "reports" / "fcn" / "training.json").read_text())
        scores = [epoch["val_iou"] for epoch in log["epochs"]]
        losses = [epoch["train_loss"] for epoch in log["epochs"]]
        found.append(((project / "bundles" / "fcn" / bundle.WEIGHTS).read_bytes(), scores, losses))
    assert found[1][:2] == found[0][:2]
    assert found[1][2] == pytest.approx(found[0][2], rel=1e-6)  # in an interrupted epoch they are added up in another order


@pytest.mark.slow
def test_weights_that_are_no_numbers_are_never_gone_on_from(project: Path) -> None:
    wild = ALONE.replace("devices: 1", "devices: 2, checkpoint_steps: 1").replace(
        "learning_rate: 0.001", "learning_rate: 1.0e+30"
    )
    (project / "params.yaml").write_text(wild)
    for _ in range(2):
        # of several processes none gives up alone: they look at the loss together, after every part
        assert re.search(r"the loss became (nan|inf) in step \d of epoch 1", run(project, "train", "fcn", code=2))
        for path in (project / ".segmodels" / "checkpoints" / "fcn").rglob(checkpoints.LAST):
            assert all(value.isfinite().all() for value in checkpoints.read(path)["state_dict"].values())


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_said(project: Path) -> None:
    (project / "params.yaml").write_text(ALONE.replace("devices: 1", "devices: 3"))
    said = run(project, "train", "fcn", code=2)
    assert "training.batch_size: 4 images cannot be shared evenly by 3 devices" in said
    assert "Traceback" not in said


def test_a_program_started_by_one_that_trains_is_of_no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGMODELS_FIRST", str(os.getppid()))
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert device.rank() == 0
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device.rank() == 1


def test_normalisation_over_several_gpus_keeps_the_activations_in_it() -> None:
    built = network.build(
        architecture="unet",
        encoder="mobilenetv3_small_050",  # its normalisation has an activation in it
        weights=None,
        options={},
        num_logits=3,
        mean=(0, 0, 0),
        std=(255, 255, 255),
    ).eval()
    image = torch.rand(1, 3, 64, 64) * 255
    expected = built(image)
    together = fitting.synchronised(built)
    assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in together.modules())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in together.modules())
    assert torch.allclose(together(image), expected, atol=1e-5)


def test_what_the_others_are_told_is_gone_when_the_training_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with device.claimed(tmp_path, 2) as chosen:
        assert chosen == [torch.device("cpu")] * 2
        assert os.environ["SEGMODELS_FIRST"] == str(os.getpid())
    assert "SEGMODELS_FIRST" not in os.environ


@pytest.mark.parametrize(
    ("vendor", "flags", "chosen"),
    [
        ("GenuineIntel", "avx512f avx512_bf16 avx512_fp16", "fp32"),
        ("GenuineIntel", "avx512_bf16 amx_bf16 amx_tile", "bf16"),
        ("AuthenticAMD", "avx512f avx512_bf16", "bf16"),
        ("AuthenticAMD", "avx512f", "fp32"),
        ("", "", "fp32"),
    ],
)
def test_a_cpu_computes_in_bf16_where_that_is_faster(
    vendor: str, flags: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_cpu_info", lambda: f"vendor_id : {vendor}\nmodel name : Some CPU\nflags : {flags}\n")
    assert device.precision("auto", torch.device("cpu")) == chosen
