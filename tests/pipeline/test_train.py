"""Training: it learns, it is repeatable, and it goes on where it was interrupted as if it never had been."""

import hashlib
import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from segmodels import augment, batches, bundle, checkpoints, learner, locks
from segmodels.batches import Batch
from segmodels.errors import TrainingError
from segmodels.fitting import Fitting
from segmodels.learner import Learner
from segmodels.network import Segmenter
from segmodels.objective import Term
from segmodels.plan import in_parts
from segmodels.store import Store
from tests.conftest import PARAMS
from tests.pipeline.trainings import SIZE, lost_power, trained

STEPS = 2
"""Of an epoch: 24 images less those of val and test, in batches of 4."""


@pytest.fixture(scope="module")
def augmented(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("augmented") / "light"
    augment.augment(prepared, folder, recipe="light", options={}, size_px=SIZE, seed=0)
    return folder


@pytest.fixture(scope="module")
def unbroken(prepared: Path, augmented: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    trained(prepared, augmented, out)
    return out


def test_it_learns(prepared: Path, augmented: Path, tmp_path: Path) -> None:
    log = trained(prepared, augmented, tmp_path, epochs=25)
    first, last = log["epochs"][0], log["epochs"][-1]
    assert last["train_loss"] < 0.6 * first["train_loss"]
    assert max(one["val_miou"] for one in log["epochs"]) > 0.25  # background alone gives at most 0.2


def test_the_same_inputs_give_the_same_weights_and_another_seed_others(
    prepared: Path, augmented: Path, unbroken: Path, tmp_path: Path
) -> None:
    trained(prepared, augmented, tmp_path / "again")
    trained(prepared, augmented, tmp_path / "other", seed=1)
    weights = bundle.WEIGHTS
    assert (tmp_path / "again" / "bundle" / weights).read_bytes() == (unbroken / "bundle" / weights).read_bytes()
    assert (tmp_path / "other" / "bundle" / weights).read_bytes() != (unbroken / "bundle" / weights).read_bytes()


def test_from_copies_drawn_beforehand_it_ends_the_same(prepared: Path, unbroken: Path, tmp_path: Path) -> None:
    augment.augment(prepared, tmp_path / "light", recipe="light", options={}, size_px=SIZE, seed=0, copies=3)
    trained(prepared, tmp_path / "light", tmp_path)
    assert (tmp_path / "bundle" / bundle.WEIGHTS).read_bytes() == (unbroken / "bundle" / bundle.WEIGHTS).read_bytes()


def test_interrupted_after_an_epoch_it_ends_as_if_unbroken(
    prepared: Path, augmented: Path, unbroken: Path, tmp_path: Path
) -> None:
    seen = []

    def interrupt(record: Any, _: int) -> None:
        seen.append(record.epoch)
        if record.epoch == 2:
            raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="the power went"):
        trained(prepared, augmented, tmp_path, on_epoch=interrupt)
    log = trained(prepared, augmented, tmp_path, on_epoch=lambda record, _: seen.append(record.epoch))
    assert seen == [1, 2, 3]  # what was told is not lost
    assert [one["epoch"] for one in log["epochs"]] == [1, 2, 3]
    unbroken_log = json.loads((unbroken / "log.json").read_text())
    assert [one["train_loss"] for one in log["epochs"]] == [one["train_loss"] for one in unbroken_log["epochs"]]
    assert (tmp_path / "bundle" / bundle.WEIGHTS).read_bytes() == (unbroken / "bundle" / bundle.WEIGHTS).read_bytes()


class SpoilTheLast(Callback):
    """Keeps the weights of every epoch, and makes the network of the last one worthless."""

    def __init__(self) -> None:
        self.weights: list[dict[str, torch.Tensor]] = []

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Learner) and trainer.max_epochs is not None
        network = pl_module.segmenter.network
        self.weights.append({name: value.clone() for name, value in network.state_dict().items()})
        if len(self.weights) == trainer.max_epochs:
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.zero_()


def test_the_bundle_is_the_best_epoch(prepared: Path, augmented: Path, tmp_path: Path) -> None:
    spoiled = SpoilTheLast()
    log = trained(prepared, augmented, tmp_path, epochs=6, callbacks=[spoiled])
    scores = [one["val_miou"] for one in log["epochs"]]
    best = scores.index(max(scores))
    assert best < 5
    saved = safetensors.torch.load_file(tmp_path / "bundle" / bundle.WEIGHTS)
    assert all(torch.equal(value, spoiled.weights[best][name]) for name, value in saved.items())
    assert log["best_epoch"] == best + 1


def test_interrupted_between_better_weights_and_the_checkpoint_the_weights_told_of_are_still_there(
    prepared: Path, augmented: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU the epoch that is repeated may come to something else."""
    write = checkpoints.write
    written: list[str] = []

    def lose_power(path: Path, content: dict[str, Any]) -> None:
        better = "best" in written[-1:] and written.count("best") > 1
        written.append(path.stem.partition("-")[0])
        if better:
            raise RuntimeError("the power went")
        write(path, content)

    with monkeypatch.context() as dying:
        dying.setattr(checkpoints, "write", lose_power)
        with pytest.raises(RuntimeError, match="the power went"):
            trained(prepared, augmented, tmp_path, epochs=25)
    [last] = tmp_path.rglob(checkpoints.LAST)
    scores = [record["val_miou"] for record in checkpoints.read(last)["records"]]
    told = checkpoints.best(last.parent, 1 + scores.index(max(scores)))
    assert set(last.parent.glob("best*")) == {told, checkpoints.best(last.parent, len(scores) + 1)}
    log = trained(prepared, augmented, tmp_path, epochs=25)
    assert list(last.parent.glob("best*")) == [checkpoints.best(last.parent, log["best_epoch"])]


def test_it_stops_early_when_nothing_gets_better(prepared: Path, augmented: Path, tmp_path: Path) -> None:
    # at this rate nothing moves but the running statistics of the normalisation
    slow: dict[str, Any] = {"epochs": 12, "learning_rate": 1e-12, "early_stopping_patience": 2}
    seen: list[int] = []
    log = trained(prepared, augmented, tmp_path / "whole", **slow)
    assert log["best_epoch"] + 2 == len(log["epochs"]) < 12

    def killed_after_the_last(record: Any, _: int) -> None:
        seen.append(record.epoch)
        if record.epoch == len(log["epochs"]):
            raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="the power went"):
        trained(prepared, augmented, tmp_path / "killed", **slow, on_epoch=killed_after_the_last)
    again = trained(prepared, augmented, tmp_path / "killed", **slow, on_epoch=lambda record, _: seen.append(record.epoch))
    assert seen == [one["epoch"] for one in log["epochs"]]  # the training that was over adds no epoch
    assert again["best_epoch"] == log["best_epoch"]


@pytest.mark.parametrize("checkpoint_steps", [1, 500])
def test_a_loss_that_is_no_number_stops_with_what_to_do(
    prepared: Path, augmented: Path, tmp_path: Path, checkpoint_steps: int
) -> None:
    with pytest.raises(
        TrainingError,
        match=r"the loss became (nan|inf) in step 2 of epoch 1 \(no epoch was done\); lower training.learning_rate \(is 1e\+30\)",
    ):
        trained(prepared, augmented, tmp_path, learning_rate=1e30, checkpoint_steps=checkpoint_steps)
    assert not (tmp_path / "bundle").exists()


def test_on_a_gpu_the_first_loss_that_was_no_number_is_told_later(
    prepared: Path, augmented: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(learner.READ_EVERY, "cpu", 100)  # as a GPU's is read
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) in step 2 of epoch 1"):
        trained(prepared, augmented, tmp_path, learning_rate=1e30, micro_batch_size=2)


@pytest.mark.parametrize(
    ("rate", "what"),
    [(1e30, "the logits of validation images are no numbers after epoch 1"), (1e39, "the weights became no numbers in epoch 1")],
)
def test_what_the_last_step_of_an_epoch_ruined_is_no_good_epoch(
    prepared: Path, augmented: Path, store: Store, tmp_path: Path, rate: float, what: str
) -> None:
    """The only loss of an epoch of one step is that of the untrained network."""
    with pytest.raises(TrainingError, match=rf"{what} \(no epoch was done\)"):
        trained(prepared, augmented, tmp_path, epochs=1, batch_size=len(store.rows("train")), learning_rate=rate)
    assert not (tmp_path / "bundle").exists()
    assert not list(tmp_path.rglob(checkpoints.LAST))


class Watch(Callback):
    """Notes what each step saw and what it left, and calls `act(step)` before it. Steps count micro-batches, over all epochs."""

    def __init__(self, act: Callable[[int], None] = lambda _: None) -> None:
        self.act, self.seen = act, 0
        self.images: list[bytes] = []
        self.rates: list[list[float]] = []
        self.weights: list[dict[str, torch.Tensor]] = []
        self.segmenter: Segmenter

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        assert isinstance(pl_module, Learner)
        self.segmenter = pl_module.segmenter
        self.act(self.seen)
        self.seen += 1
        self.images.append(hashlib.sha256(batch.images.numpy().tobytes()).digest())

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, Learner)
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])
        self.weights.append({name: value.clone() for name, value in pl_module.segmenter.state_dict().items()})


def saved(out: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(out / "bundle" / bundle.WEIGHTS)


@pytest.mark.parametrize("at", [1, 3, 4])  # of two steps an epoch: inside the first, inside the second, and at its end
def test_interrupted_inside_an_epoch_no_sample_is_repeated_or_left_out(
    prepared: Path, augmented: Path, unbroken: Path, tmp_path: Path, at: int
) -> None:
    whole, before, after = Watch(), Watch(lost_power(at)), Watch()
    log = trained(prepared, augmented, tmp_path / "whole", checkpoint_steps=1, callbacks=[whole])
    assert saved(tmp_path / "whole").keys() == saved(unbroken).keys()
    # how often it is saved decides nothing
    assert all(torch.equal(value, saved(unbroken)[name]) for name, value in saved(tmp_path / "whole").items())
    with pytest.raises(RuntimeError, match="the power went"):
        trained(prepared, augmented, tmp_path / "cut", checkpoint_steps=1, callbacks=[before])
    again = trained(prepared, augmented, tmp_path / "cut", checkpoint_steps=1, callbacks=[after])
    assert before.images[:at] + after.images == whole.images
    assert [one["train_loss"] for one in again["epochs"]] == pytest.approx([one["train_loss"] for one in log["epochs"]])
    assert (tmp_path / "cut/bundle" / bundle.WEIGHTS).read_bytes() == (tmp_path / "whole/bundle" / bundle.WEIGHTS).read_bytes()


@pytest.mark.parametrize(("at", "kept"), [(1, "nothing yet"), (2, "up to epoch 1 "), (3, "up to epoch 1 ")])
def test_who_interrupts_it_is_told_what_is_saved(prepared: Path, augmented: Path, tmp_path: Path, at: int, kept: str) -> None:
    def press(step: int) -> None:
        if step == at:
            raise KeyboardInterrupt

    told: list[str] = []
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            trained(prepared, augmented, tmp_path, callbacks=[Watch(press)], notice=told.append)
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores it from then on
    assert any(f"what it has learned is saved: {kept}" in one for one in told)


def test_another_training_of_the_candidate_keeps_its_checkpoints(prepared: Path, augmented: Path, tmp_path: Path) -> None:
    running, over = tmp_path / "checkpoints" / "psp" / "running", tmp_path / "checkpoints" / "psp" / "over"
    for other in (running, over):
        other.mkdir(parents=True)
        (other / checkpoints.LAST).touch()
    (running.parent / ".DS_Store").touch()  # as some systems leave behind
    with locks.held(running / checkpoints.LOCK):
        trained(prepared, augmented, tmp_path, epochs=1)
    assert (running / checkpoints.LAST).is_file() and not over.exists()


def test_workers_that_draw_ahead_go_on_where_it_was_interrupted(
    prepared: Path, augmented: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_num_workers", lambda _: 2)
    with pytest.raises(RuntimeError, match="the power went"):
        trained(prepared, augmented, tmp_path, checkpoint_steps=1, callbacks=[Watch(lost_power(3))])
    trained(prepared, augmented, tmp_path, checkpoint_steps=1)
    assert all(torch.equal(value, saved(unbroken)[name]) for name, value in saved(tmp_path).items())


def test_parts_are_of_one_length_and_the_rest_is_drawn_in_another_epoch(
    prepared: Path, augmented: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segmodels.plan.in_parts", lambda *_: 3)  # of five steps, one each; of itself it would take five
    watch, size = Watch(), 2
    log = trained(prepared, augmented, tmp_path, batch_size=size, epochs=2, callbacks=[watch])
    assert len(store.rows("train")) // size == 5
    assert len(log["epochs"]) == 2
    assert len(watch.images) == 6 == len(set(watch.images))


def test_every_epoch_shows_every_image_once(prepared: Path, augmented: Path, store: Store, tmp_path: Path) -> None:
    watch = Watch()
    trained(prepared, augmented, tmp_path, batch_size=1, epochs=2, callbacks=[watch])
    assert len(set(watch.images)) == len(watch.images) == 2 * len(store.rows("train"))  # each drawn anew


def test_out_of_memory_it_goes_on_with_smaller_micro_batches(prepared: Path, augmented: Path, tmp_path: Path) -> None:
    said: list[str] = []
    sizes: list[int] = []

    class Full(Callback):
        """A machine whose memory holds two images."""

        def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
            sizes.append(len(batch.images))
            if len(batch.images) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")

    log = trained(prepared, augmented, tmp_path, batch_size=8, epochs=2, notice=said.append, callbacks=[Full()])
    assert [line.partition(";")[0] for line in said] == [
        "out of memory with 8 images at once",
        "out of memory with 4 images at once",
    ]
    assert "goes on with 2, 4 times before each step (training.micro_batch_size: 2" in said[-1]
    assert sizes[:2] == [8, 4] and set(sizes[2:]) == {2}
    assert len(log["epochs"]) == 2
    # the same as if it had been asked for
    trained(prepared, augmented, tmp_path / "asked", batch_size=8, micro_batch_size=2, epochs=2)
    assert all(torch.equal(value, saved(tmp_path / "asked")[name]) for name, value in saved(tmp_path).items())


def test_out_of_memory_on_one_of_several_devices_it_goes_on_with_less_when_it_is_started_again(
    prepared: Path, augmented: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def full(self: Fitting, learner: Learner, batch: int, micro: int) -> None:
        asked.append((batch, micro))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Fitting, "_fit", full)
    for now, then in ((4, 2), (2, 1)):
        with pytest.raises(
            TrainingError, match=rf"with {now} images at once on each device; start it again, and it goes on with {then}"
        ):
            trained(prepared, augmented, tmp_path, batch_size=8, devices=2)
    with pytest.raises(TrainingError, match="out of memory with one image"):
        trained(prepared, augmented, tmp_path, batch_size=8, devices=2)
    assert asked == [(4, 4), (4, 2), (4, 1)]


def test_one_image_too_large_for_the_memory_is_said(prepared: Path, augmented: Path, tmp_path: Path) -> None:
    class Full(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    with pytest.raises(TrainingError, match=r"out of memory with one image of \(32, 64\) pixels at once; lower training.size_px"):
        trained(prepared, augmented, tmp_path, callbacks=[Full()])


def test_a_part_that_is_not_deterministic_is_said(prepared: Path, augmented: Path, tmp_path: Path) -> None:
    class OnGpuOnly(Callback):
        """What torch says of an operation that has no deterministic form on a GPU."""

        def on_train_batch_start(self, *_: Any) -> None:
            raise RuntimeError(
                "upsample_bicubic2d_backward_out_cuda does not have a deterministic implementation, but you set ..."
            )

    with pytest.raises(TrainingError, match=r"training.deterministic: .*upsample_bicubic2d.*set it to false, or choose another"):
        trained(prepared, augmented, tmp_path, deterministic=True, callbacks=[OnGpuOnly()])


def test_micro_batches_make_as_many_steps(prepared: Path, augmented: Path, tmp_path: Path) -> None:
    watch = Watch()
    trained(prepared, augmented, tmp_path, micro_batch_size=2, epochs=1, callbacks=[watch])
    weights = [one["network.encoder.conv1.weight"] for one in watch.weights]
    assert len(weights) == 4
    moved = [not torch.equal(a, b) for a, b in itertools.pairwise(weights)]
    assert moved == [True, False, True]  # after every second micro-batch


def test_a_batch_in_parts_has_the_gradient_of_the_whole(prepared: Path, tmp_path: Path) -> None:
    """Of a network without batch normalisation, whose statistics are of the part, on images that have equally much void."""
    recipe = tmp_path / "none"
    augment.augment(prepared, recipe, recipe="none", options={}, size_px=SIZE, seed=0)
    chosen: dict[str, Any] = {"architecture": "fcn", "encoder": "convnext_atto", "options": {"dropout": 0.0}, "epochs": 1}
    gradients = []
    for number in (4, 1):
        watch = Gradients()
        trained(prepared, recipe, tmp_path / str(number), micro_batch_size=number, callbacks=[watch], **chosen)
        gradients.append(watch.first)
    largest = max(float(one.abs().max()) for one in gradients[0])
    for whole, summed in zip(*gradients, strict=True):
        torch.testing.assert_close(summed, whole, rtol=1e-3, atol=1e-4 * largest)


class Gradients(Callback):
    """Keeps those of the first step."""

    def __init__(self) -> None:
        self.first: list[torch.Tensor] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer) -> None:
        if not self.first:
            self.first = [one.grad.clone() for one in pl_module.parameters() if one.grad is not None]


@pytest.mark.parametrize(
    ("steps", "checkpoint_steps", "parts"),
    [
        (45, 500, 1),
        (99, 2, 99),  # not 50, which would leave out 49 steps
        (9, 2, 9),
        (1000, 300, 4),
        (1009, 500, 3),  # a prime: one step is left out whatever the parts
    ],
)
def test_an_epoch_loses_as_few_steps_to_its_parts_as_can_be(steps: int, checkpoint_steps: int, parts: int) -> None:
    assert in_parts(steps, checkpoint_steps) == parts
    assert steps // parts <= checkpoint_steps


def test_the_averaged_weights_are_scored_and_kept(prepared: Path, augmented: Path, tmp_path: Path) -> None:
    watch = Watch()
    log = trained(prepared, augmented, tmp_path, ema_decay=0.5, callbacks=[watch])
    name = "network.encoder.conv1.weight"
    averaged = None
    by_epoch = []
    for step, weights in enumerate(watch.weights, start=1):
        if averaged is None:
            averaged = start_of(prepared, augmented, tmp_path)[name]
        decay = min(0.5, (1 + step) / (10 + step))
        averaged = decay * averaged + (1 - decay) * weights[name]
        by_epoch.append(averaged)
    best = by_epoch[log["best_epoch"] * STEPS - 1]
    assert torch.allclose(saved(tmp_path)[name.removeprefix("network.")], best, atol=1e-6)


def start_of(prepared: Path, augmented: Path, out: Path) -> dict[str, torch.Tensor]:
    """The weights before the first step."""
    seen: list[dict[str, torch.Tensor]] = []

    class Look(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            assert isinstance(pl_module, Learner)
            seen.append({name: value.clone() for name, value in pl_module.segmenter.state_dict().items()})
            raise RuntimeError("seen")

    with pytest.raises(RuntimeError, match="seen"):
        trained(prepared, augmented, out / "start", callbacks=[Look()])
    return seen[0]


def test_a_frozen_encoder_keeps_its_weights_and_statistics(prepared: Path, augmented: Path, tmp_path: Path) -> None:
    watch = Watch()
    trained(prepared, augmented, tmp_path, epochs=2, freeze_encoder_epochs=1, callbacks=[watch])
    start = start_of(prepared, augmented, tmp_path)
    inside = [name for name in start if name.startswith("network.encoder.") and "num_batches" not in name]
    others = [name for name in start if name.startswith("network.head.") and "num_batches" not in name]
    assert all(torch.equal(watch.weights[STEPS - 1][name], start[name]) for name in inside)
    assert not any(torch.equal(watch.weights[STEPS - 1][name], start[name]) for name in others if "dropout" not in name)
    assert not any(torch.equal(watch.weights[2 * STEPS - 1][name], start[name]) for name in inside)


def test_the_rate_warms_up_and_the_encoder_has_its_own(prepared: Path, augmented: Path, tmp_path: Path) -> None:
    watch = Watch()
    trained(prepared, augmented, tmp_path, learning_rate=0.1, encoder_rate=0.1, warmup_epochs=1, callbacks=[watch])
    # groups: encoder decayed and not, the rest decayed and not; one epoch of warm-up, then poly over the other two
    expected = [0.1 / 3, 0.2 / 3, *(0.1 * (1 - step / 4) ** 0.9 for step in range(4))]
    assert [one[2] for one in watch.rates] == pytest.approx(expected)
    assert [one[3] for one in watch.rates] == pytest.approx(expected)
    assert [one[0] for one in watch.rates] == pytest.approx([rate / 10 for rate in expected])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_clipped_gradient_moves_little(prepared: Path, augmented: Path, tmp_path: Path, precision: str) -> None:
    watch, clip = Watch(), {"weight_decay": 0.0, "gradient_clip": 1e-12}
    trained(prepared, augmented, tmp_path, epochs=1, precision=precision, callbacks=[watch], **clip)
    start = start_of(prepared, augmented, tmp_path)
    name = "network.encoder.conv1.weight"
    # AdamW divides by the gradient's size, but not where its epsilon of 1e-8 is larger
    assert torch.allclose(watch.weights[-1][name], start[name], atol=1e-5)


@pytest.mark.parametrize(
    ("epoch", "good"), [(1, "no epoch was done"), (3, r"epoch 2 was the last good one, epoch [12] the best, with mIoU 0\.\d+")]
)
def test_a_loss_that_rises_beyond_hope_ends_it(prepared: Path, augmented: Path, tmp_path: Path, epoch: int, good: str) -> None:
    def blow(step: int) -> None:
        if step == STEPS * epoch - 1:
            with torch.no_grad():
                for parameter in watch.segmenter.network.parameters():
                    parameter.mul_(100)

    watch = Watch(blow)
    with pytest.raises(TrainingError, match=rf"the loss rose to \d\S+ in epoch {epoch}, from [12]\.\d+ at first \({good}\)"):
        trained(prepared, augmented, tmp_path, epochs=4, callbacks=[watch])
    assert not (tmp_path / "bundle").exists()


class Forget(Callback):
    """From its third epoch on the network says nothing but the last class, however it is trained."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.on_validation_start(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        if pl_module.epoch >= 3:
            with torch.no_grad():
                weights = dict(pl_module.segmenter.network.named_parameters())
                for parameter in weights.values():
                    parameter.zero_()
                weights["head.4.bias"][-1] = 10


def test_what_is_learnt_and_lost_under_a_loss_with_a_bound_ends_it(prepared: Path, augmented: Path, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"what was learnt is lost since epoch 3: .* \(epoch 2 was the last good one, epoch [12] the best"
    ):
        trained(prepared, augmented, tmp_path, epochs=9, loss=[Term("dice", {})], callbacks=[Forget()])
    assert not (tmp_path / "bundle").exists()


COMMAND = [sys.executable, "-u", "-m", "segmodels", "train", "pspnet"]
EPOCHS = 16
# all that has a state of its own to go on with: the average, the rate, what is frozen, which crops; saved after every step
STATEFUL = (
    PARAMS.replace(
        "epochs: 2", f"epochs: {EPOCHS}, ema_decay: 0.9, freeze_encoder_epochs: 2, balanced_crops: 0.5, checkpoint_steps: 1"
    )
    .replace("{name: poly}", "{name: plateau, patience: 1}")
    .replace(
        "encoder: resnet18\n    options: {channels", "encoder: resnet18\n    training: {warmup_epochs: 1}\n    options: {channels"
    )
)


@pytest.fixture(scope="module")
def programs_unbroken(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which the real program has trained a candidate in one go, in the precision that this machine uses."""
    project = tmp_path_factory.mktemp("program")
    (project / "data").mkdir()
    (project / "data" / "raw").symlink_to(drawn)
    (project / "params.yaml").write_text(STATEFUL)
    for verb in (["prepare"], ["augment", "light"]):
        subprocess.run([sys.executable, "-m", "segmodels", *verb], cwd=project, check=True, capture_output=True)
    subprocess.run(COMMAND, cwd=project, check=True, capture_output=True)
    return project


def killed_after(line: str, steps: int, *, cwd: Path) -> list[str]:
    """Run the real program; kill it when so many steps have been saved after it said the line, while the next one runs."""
    told: list[str] = []
    with subprocess.Popen(COMMAND, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        while not any(line in said for said in told):
            told.append(process.stdout.readline())
            assert told[-1], told  # it goes on speaking
        [checkpoint] = (cwd / ".segmodels" / "checkpoints" / "pspnet").rglob(checkpoints.LAST)
        for _ in range(steps):
            before = checkpoint.stat().st_mtime_ns
            while checkpoint.stat().st_mtime_ns == before:
                assert process.poll() is None
                time.sleep(0.001)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    return told


@pytest.mark.slow
def test_killed_again_and_again_it_ends_as_if_unbroken(programs_unbroken: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    shutil.copytree(programs_unbroken, killed, symlinks=True, ignore=shutil.ignore_patterns("bundles", "reports", ".segmodels"))
    told = killed_after(f"epoch 1 of {EPOCHS}", 0, cwd=killed)  # the encoder is still frozen
    for line, steps in (("goes on after", 1), (": loss", 2), (": loss", 1), ("goes on after", 2), (": loss", 0)):
        told += killed_after(line, steps, cwd=killed)
    told += subprocess.run(COMMAND, cwd=killed, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len([line for line in told if "goes on after" in line]) == 6
    assert any(re.search(r"goes on after epoch \d+ and \d of \d steps", line) for line in told)  # from inside an epoch
    files = [folder / "bundles" / "pspnet" / bundle.WEIGHTS for folder in (programs_unbroken, killed)]
    assert files[0].read_bytes() == files[1].read_bytes()
    records = [json.loads((folder / "reports/pspnet/training.json").read_text()) for folder in (programs_unbroken, killed)]
    for one in records:
        for epoch in one["epochs"]:
            del epoch["seconds"]
    assert records[0]["epochs"] == records[1]["epochs"]
