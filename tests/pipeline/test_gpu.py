"""What holds on a GPU, and can be seen only there. Needs neither DVC nor MLflow nor Prefect."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from segmodels import augment, backends, bundle, catalog, trials
from segmodels.predict import Predictor
from segmodels.recipes import Recipe
from segmodels.store import Store
from tests.pipeline.trainings import SIZE, lost_power, plan, trained

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")

GPU = torch.device("cuda", 0)


@pytest.fixture(scope="module")
def augmented(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("augmented") / "light"
    augment.augment(prepared, folder, recipe="light", options={}, size_px=SIZE, seed=0)
    return folder


def weights_sha256(out: Path) -> str:
    return hashlib.sha256((out / "bundle" / bundle.WEIGHTS).read_bytes()).hexdigest()


def test_it_trains_in_bf16_and_predicts_as_a_cpu_does(prepared: Path, augmented: Path, store: Store, tmp_path: Path) -> None:
    log = trained(prepared, augmented, tmp_path, precision="auto", epochs=20)
    assert (log["precision"], log["device"]) == ("bf16", torch.cuda.get_device_name(GPU))
    assert log["epochs"][-1]["train_loss"] < 0.6 * log["epochs"][0]["train_loss"]
    loaded = bundle.load(tmp_path / "bundle")
    images = [np.array(store.image(row)) for row in store.rows("test")]
    of_gpu = Predictor(loaded, backends.load(loaded, on=GPU))
    here = [of_gpu(image) for image in images]
    again = bundle.load(tmp_path / "bundle")
    of_cpu = Predictor(again, backends.load(again, "torch", on=torch.device("cpu"), precision="fp32"))
    there = [of_cpu(image) for image in images]
    same = np.mean([np.mean(one == other) for one, other in zip(here, there, strict=True)])
    assert same > 0.98  # in bf16, of a network that is unsure


@pytest.mark.parametrize("architecture", catalog.names("architectures"))
def test_deterministic_it_repeats_itself_and_goes_on_bit_for_bit(
    prepared: Path, augmented: Path, tmp_path: Path, architecture: str
) -> None:
    encoder = str(catalog.default("architectures", architecture, "encoder"))
    chosen: dict[str, Any] = {"architecture": architecture, "encoder": encoder, "options": {}, "deterministic": True}
    chosen |= {"precision": "auto", "epochs": 2, "checkpoint_steps": 1}
    for out in ("one", "two"):
        trained(prepared, augmented, tmp_path / out, **chosen)
    with pytest.raises(RuntimeError, match="the power went"):
        trained(prepared, augmented, tmp_path / "cut", callbacks=[Interrupted(3)], **chosen)
    trained(prepared, augmented, tmp_path / "cut", **chosen)
    assert weights_sha256(tmp_path / "one") == weights_sha256(tmp_path / "two") == weights_sha256(tmp_path / "cut")


class Interrupted(Callback):
    """Ends it before a step, counted from 0."""

    def __init__(self, at: int) -> None:
        self.act = lost_power(at)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.act(trainer.global_step)


@pytest.fixture
def a_little_memory() -> Any:
    """The process may take 1.5 GB of the GPU's memory, as on a small one, or beside another program."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1.5e9 / torch.cuda.get_device_properties(GPU).total_memory, GPU)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0, GPU)


@pytest.mark.usefixtures("a_little_memory")
def test_when_its_memory_runs_out_it_goes_on_with_less_at_once(prepared: Path, tmp_path: Path) -> None:
    size_px = (512, 512)
    augment.augment(prepared, tmp_path / "large", recipe="light", options={}, size_px=size_px, seed=0)
    said: list[str] = []
    chosen: dict[str, Any] = {"architecture": "unet", "options": {}, "size_px": size_px, "batch_size": 8, "epochs": 2}
    log = trained(prepared, tmp_path / "large", tmp_path / "out", precision="auto", notice=said.append, **chosen)
    assert len(log["epochs"]) == 2
    assert said and said[0].startswith("out of memory with 8 images at once; goes on with 4, 2 times before each step")
    assert torch.cuda.max_memory_reserved(GPU) <= 1.5e9


@pytest.mark.usefixtures("a_little_memory")
def test_the_batch_that_fits_is_measured(prepared: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "FEWEST_STEPS", 1)
    monkeypatch.setattr(trials, "_free_bytes", lambda on: int(1.5e9))
    found = {}
    for size in (128, 512):
        augment.augment(prepared, tmp_path / str(size), recipe="light", options={}, size_px=(size, size), seed=0)
        large = replace(plan(size_px=(size, size)), options={})
        trial = trials.Trial(large, store, Recipe.load(tmp_path / str(size) / "recipe.json"), on=GPU, precision="bf16")
        found[size] = trial.decide_batch_size()
    assert found[128].value == 8  # what the images allow: 11 of them
    assert found[512].value < 8 and "fits into the memory of" in found[512].reason
