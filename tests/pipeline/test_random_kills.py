"""A training killed at moments that nobody chose ends as an unbroken one: `pytest tests/pipeline/test_random_kills.py --kills 200`."""

import hashlib
import json
import multiprocessing
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from segmodels import augment, bundle
from segmodels.batches import Batch
from tests.pipeline.trainings import SIZE, trained

# all that has a state of its own to go on with; saved after every step, so that a write is about as likely to be hit as a step
STATEFUL: dict[str, Any] = {
    "epochs": 6,
    "ema_decay": 0.9,
    "freeze_encoder_epochs": 2,
    "warmup_epochs": 1,
    "balanced_crops": 0.5,
    "checkpoint_steps": 1,
}


class Order(Callback):
    """Keeps in a file which images each step has seen."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, _: int) -> None:
        with self.path.open("a") as file:
            file.write(f"{trainer.global_step} {hashlib.sha256(batch.images.numpy().tobytes()).hexdigest()}\n")


def begun(prepared: Path, augmented: Path, out: Path) -> Any:
    """A process that trains. Forked from one that has loaded everything: it trains from its first moment."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.pipeline.test_train"])
    out.mkdir(exist_ok=True)
    watched = STATEFUL | {"callbacks": [Order(out / "order.txt")]}
    process = context.Process(target=trained, args=(prepared, augmented, out), kwargs=watched)
    process.start()
    return process


def ended(out: Path) -> tuple[bytes, list[dict[str, Any]], set[str]]:
    """The weights that came out, what each epoch came to but for its time, and what each step saw, also where it was done again."""
    epochs = json.loads((out / "log.json").read_text())["epochs"]
    told = [{key: value for key, value in one.items() if key != "seconds"} for one in epochs]
    return (out / "bundle" / bundle.WEIGHTS).read_bytes(), told, set((out / "order.txt").read_text().splitlines())


@pytest.mark.slow
def test_killed_at_random_it_ends_as_if_unbroken(prepared: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    wanted: int = request.config.getoption("--kills")
    rng = random.Random(wanted)
    augmented = tmp_path / "light"
    augment.augment(prepared, augmented, recipe="light", options={}, size_px=SIZE, seed=0)
    unbroken = tmp_path / "unbroken"
    for folder in (tmp_path / "warm", unbroken):  # the first starts the server too
        started = time.monotonic()
        process = begun(prepared, augmented, folder)
        process.join()
        assert process.exitcode == 0
    seconds = time.monotonic() - started
    kills = trainings = 0
    while kills < wanted:
        out = tmp_path / f"killed-{trainings}"
        trainings += 1
        while True:
            process = begun(prepared, augmented, out)
            process.join(rng.uniform(0, 1.5 * seconds))
            process.kill()
            process.join()
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL
            kills += 1
        assert ended(out) == ended(unbroken), f"training {trainings}, after {kills} kills"
    print(
        f"{kills} kills in {trainings} trainings of {seconds:.1f} s: each ended with the unbroken one's weights, records and order of images"
    )
