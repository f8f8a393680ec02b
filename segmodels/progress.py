"""How far a training has come: a live bar on a terminal, and a line an epoch everywhere."""

from datetime import timedelta
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segmodels.learner import Learner


class TrainingProgress(Callback):
    """Shows batches and epochs of one candidate's training."""

    def __init__(self, candidate: str) -> None:
        self.candidate = candidate
        self.console = Console(highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self.batches = self.bar.add_task(candidate, total=None)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch > 0:
            self.console.print(f"{self.candidate}: goes on after epoch {trainer.current_epoch} of {trainer.max_epochs}")
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
        self.console.print(
            f"{self.candidate}: epoch {record.epoch} of {trainer.max_epochs}: loss {record.train_loss:.4f}, "
            f"validation mIoU {record.val_miou:.4f}, {record.seconds:.1f} s, at most {left} left"
        )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.bar.stop()
