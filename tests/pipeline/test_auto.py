"""`auto` by measuring: on the real network and images, and through the verb, where it is said, kept and used."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from segmodels import augment, device, trials
from segmodels.errors import TrainingError
from segmodels.recipes import Recipe
from segmodels.store import Store
from segmodels.trials import Trial
from tests.conftest import PARAMS, REPOSITORY
from tests.pipeline.test_cli import segmodels
from tests.pipeline.trainings import SIZE, plan


@pytest.fixture(scope="module")
def trial(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    folder = tmp_path_factory.mktemp("augmented") / "light"
    augment.augment(prepared, folder, recipe="light", options={}, size_px=SIZE, seed=0)
    return Trial(plan(), Store(prepared), Recipe.load(folder / "recipe.json"), on=torch.device("cpu"), precision="fp32")


def test_the_rate_is_a_tenth_of_where_the_loss_was_lowest(trial: Trial) -> None:
    rates, losses, _ = trial._rising(4, at_once=4)
    assert rates == sorted(rates)
    lowest = rates[losses.index(min(losses[trials.FIRST_STEPS :]))]
    decision = trial.decide_learning_rate(4)
    assert decision.value == pytest.approx(lowest / 10, rel=0.05)
    # where such a network learns: neither so low that nothing moves nor so high that it falls apart
    assert 2e-4 <= decision.value <= 1e-2
    assert trial.decide_learning_rate(4) == decision  # the same again


def test_a_loss_that_rises_ends_the_test(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "HIGHEST_RATE", 1e4)
    rates, _, _ = trial._rising(4, at_once=4)
    assert len(rates) < trials.RATE_STEPS


@pytest.mark.parametrize("changed", [{"encoder_rate": 1e-6}, {"gradient_clip": 1e-12}])
def test_rates_are_tried_out_as_they_will_be_trained(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    monkeypatch.setattr(trials, "RATE_STEPS", 8)
    other = replace(trial, plan=replace(trial.plan, optimization=replace(trial.plan.optimization, **changed)))
    assert other._rising(4, at_once=4)[1] != trial._rising(4, at_once=4)[1]


def losses_of(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    monkeypatch.setattr(Trial, "_steps", lambda *_, **__: iter(losses))


def test_a_first_batch_without_anything_in_it_does_not_decide(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Dice of a batch without a single "yes" is 0: lower than any that follows."""
    losses_of(monkeypatch, [0.0] + [0.9] * 20 + [0.5] * 5 + [0.95] * 24)
    decision = trial.decide_learning_rate(4)
    rate_of_step_25 = 1e-5 * 1e4 ** (25 / 49)
    assert decision.value == pytest.approx(rate_of_step_25 / 10, rel=0.05)


def test_a_loss_that_never_falls_leaves_the_usual_rate_and_says_so(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    losses_of(monkeypatch, [1.0 + step / 100 for step in range(50)])
    decision = trial.decide_learning_rate(4)
    assert decision.value == 1e-3
    assert "fell at no rate" in decision.reason


def test_a_loss_that_is_no_number_from_the_start_is_said(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    losses_of(monkeypatch, [1.0, float("nan")])
    with pytest.raises(TrainingError, match="no number after 1 steps .* set training.learning_rate"):
        trial.decide_learning_rate(4)


def test_the_rate_of_a_batch_is_measured_in_parts_where_memory_asks_for_it(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    steps = Trial._steps

    def narrow(self: Trial, batch_size: int, at_once: int, **keywords: float) -> object:
        asked.append(at_once)
        if at_once > 2:
            raise torch.OutOfMemoryError("out of memory")
        return steps(self, batch_size, at_once, **keywords)

    monkeypatch.setattr(Trial, "_steps", narrow)
    monkeypatch.setattr(trials, "RATE_STEPS", 8)
    trial.decide_learning_rate(8)
    assert asked == [8, 4, 2]


def test_one_image_too_large_for_the_memory_is_said(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: float) -> object:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(Trial, "_steps", full)
    with pytest.raises(TrainingError, match=r"out of memory with one image of .* pixels at once; lower training.size_px"):
        trial.decide_learning_rate(8)


def test_the_batch_leaves_steps_enough_in_an_epoch(trial: Trial) -> None:
    assert len(trial.store.rows("train")) == 10
    decision = trial.decide_batch_size()
    assert decision.value == 2  # 10 / 4 steps, as a power of two
    assert "that 10 training images allow" in decision.reason
    assert replace(trial, plan=plan(devices=4)).decide_batch_size().value == 8  # two on each
    assert replace(trial, plan=plan(devices=10)).decide_batch_size().value == 10


def test_the_batch_is_what_a_gpu_s_memory_holds(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "FEWEST_STEPS", 1)
    asked = []

    def step(self: Trial, batch_size: int, *_: int, **__: float) -> object:
        asked.append(batch_size)
        if batch_size > 4:
            raise torch.OutOfMemoryError("out of memory")
        return iter([0.0, 0.0])

    monkeypatch.setattr(Trial, "_steps", step)
    decision = trial.decide_batch_size()
    assert decision.value == 4
    assert max(asked) == 8
    assert f"fits into the memory of {device.describe(torch.device('cpu'))}" in decision.reason


TRYING_WITH_LITTLE_MEMORY = """
import sys
from pathlib import Path
from dataclasses import replace
import torch
from segmodels import trials
from segmodels.recipes import Recipe
from segmodels.store import Store
from tests.pipeline.trainings import plan

recipe = Recipe.load(Path(sys.argv[2]))
trial = trials.Trial(replace(plan(), options={}), Store(Path(sys.argv[1])), recipe, on=torch.device("cpu"), precision="fp32")
trials.FEWEST_STEPS = 1
for free in (10**9, 2**40):
    trials._free_bytes = lambda _: free
    print(trial.decide_batch_size().value)
"""
"""A process of its own, with little memory first: what it ever held at most counts."""


@pytest.mark.slow
def test_a_cpu_s_memory_is_measured_before_more_is_asked_for(prepared: Path, tmp_path: Path) -> None:
    augment.augment(prepared, tmp_path / "large", recipe="light", options={}, size_px=(256, 256), seed=0)
    command = [sys.executable, "-c", TRYING_WITH_LITTLE_MEMORY, str(prepared), str(tmp_path / "large" / "recipe.json")]
    little, ample = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split()
    # a step of eight images of 256 x 256 holds more than 1 GB; weights, gradients and moments alone are 0.23
    assert (ample, int(little) < 8) == ("8", True)


@pytest.mark.slow
def test_everything_auto_is_said_kept_and_used(drawn: Path, params_file: Path, tmp_path: Path) -> None:
    start, end = PARAMS.index("  pspnet:\n"), PARAMS.index("training: {size_px")
    text = PARAMS[:start] + "training: {size_px: auto, epochs: 1, seed: 0, export: none}\n"
    assert end > start
    params_file.write_text(text.replace("{name: cross_entropy}", "{name: cross_entropy, class_weights: auto}"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "raw").symlink_to(drawn)
    segmodels("prepare", cwd=tmp_path)
    segmodels("augment", "light", cwd=tmp_path)
    said = segmodels("train", "unet", cwd=tmp_path)
    said_text = said.stdout + said.stderr
    for line in (
        "training.size_px is [64, 64] (auto): the median training image",  # of 48 x 64
        'training.normalisation is "dataset" (auto)',
        "training.batch_size is 4 (auto)",
        "training.learning_rate is",
        "loss.0.class_weights is [",
    ):
        assert f"unet: {line}" in said_text
    kept = json.loads((tmp_path / ".segmodels" / "decisions" / "unet.json").read_text())["decisions"]
    values = {one["key"]: one["value"] for one in kept}
    bundle = json.loads((tmp_path / "bundles" / "unet" / "bundle.json").read_text())
    used = bundle["training"]
    assert bundle["size_px"] == used["settings"]["size_px"] == values["training.size_px"]
    assert used["settings"]["batch_size"] == values["training.batch_size"]
    assert used["optimization"]["learning_rate"] == values["training.learning_rate"]
    assert used["loss"][0]["options"]["class_weights"] == values["loss.0.class_weights"]
    assert used["decisions"] == kept
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    for one in kept:
        assert run.data.params[f"decisions.{one['key']}"] == one["reason"]
    assert run.data.params["training.learning_rate"] == str(values["training.learning_rate"])
    # asked again, nothing is tried out again
    again = segmodels("train", "unet", cwd=tmp_path)
    assert "trying out" in said_text
    assert "trying out" not in again.stdout + again.stderr
    assert json.loads((tmp_path / "bundles" / "unet" / "bundle.json").read_text()) == bundle


PEAK = 'import torch; from segmodels import device; print(device.peak_bytes(torch.device("cpu")))'


def test_the_memory_of_who_started_a_program_is_not_its_own() -> None:
    """Linux counts it so: a training begun by a large process seemed to take as much, and nothing more was dared."""
    held = np.ones(2**31, np.uint8)
    told = subprocess.run([sys.executable, "-c", PEAK], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert 0 < int(told) < held.nbytes / 2
