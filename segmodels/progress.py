"""How far a training has come: a live bar on a terminal, a line an epoch everywhere, and a file for other processes to look at."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segmodels import atomic, console
from segmodels.learner import EpochRecord, Learner


class TrainingProgress(Callback):
    """Shows batches and epochs of one candidate's training."""

    def __init__(self, candidate: str) -> None:
        self.candidate = candidate
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console.out, transient=True, disable=not console.out.is_terminal)
        self.batches = self.bar.add_task(candidate, total=None)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch > 0:
            console.out.print(f"{self.candidate}: goes on after epoch {trainer.current_epoch} of {trainer.max_epochs}")
        self.bar.start()
        self.bar.update(self.batches, total=trainer.estimated_stepping_batches, completed=trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.bar.update(
            self.batches,
            completed=trainer.global_step,
            description=f"{self.candidate}: epoch {trainer.current_epoch + 1} of {trainer.max_epochs}",
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Learner) and trainer.max_epochs is not None
        record = pl_module.records[-1]
        left = timedelta(seconds=round(record.seconds * (trainer.max_epochs - record.epoch)))
        console.out.print(
            f"{self.candidate}: epoch {record.epoch} of {trainer.max_epochs}: loss {record.train_loss:.4f}, "
            f"validation mIoU {record.val_miou:.4f}, {record.seconds:.1f} s, at most {left} left"
        )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.bar.stop()


class Live:
    """Keeps a JSON of how far a training has come, and passes every epoch's record on."""

    def __init__(self, path: Path, passed_on: Callable[[dict[str, Any]], None]) -> None:
        self.path, self.passed_on = path, passed_on

    def __call__(self, record: EpochRecord, epochs: int) -> None:
        atomic.write_json(self.path, {"epoch": record.epoch, "epochs": epochs, "val_miou": record.val_miou})
        self.passed_on(record.to_dict())
