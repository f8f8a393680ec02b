"""How far a training has come: a live bar on a terminal, a line an epoch everywhere, and a file for other processes to look at."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segmodels import atomic, console
from segmodels.learner import EpochRecord, Learner


class TrainingProgress(Callback):
    """Shows batches and epochs of one candidate's training, and keeps the last epoch in the JSON file `live`."""

    def __init__(self, candidate: str, live: Path) -> None:
        self.candidate, self.live = candidate, live
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console.out, transient=True, disable=not console.out.is_terminal)
        self.batches = self.bar.add_task(candidate, total=None)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        steps, done = pl_module.steps_an_epoch, trainer.global_step
        if done > 0:
            console.out.print(f"{self.candidate}: goes on after {pl_module.reached(done)} of {pl_module.epochs}")
        self.bar.start()
        self.bar.update(self.batches, total=pl_module.epochs * steps, completed=done)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, Learner)
        self.bar.update(
            self.batches,
            completed=trainer.global_step,
            description=f"{self.candidate}: epoch {pl_module.epoch} of {pl_module.epochs}",
        )

    def epoch(self, record: EpochRecord, epochs: int) -> None:
        """An epoch is done, of at most `epochs`."""
        left = timedelta(seconds=round(record.seconds * (epochs - record.epoch)))
        live = {"epoch": record.epoch, "epochs": epochs, "val_miou": record.val_miou, "train_loss": record.train_loss}
        atomic.write_json(self.live, live | {"seconds_left": left.total_seconds()})
        console.out.print(
            f"{self.candidate}: epoch {record.epoch} of {epochs}: loss {record.train_loss:.4f}, "
            f"validation mIoU {record.val_miou:.4f}, {record.seconds:.1f} s, at most {left} left"
        )

    def on_exception(self, *_: Any) -> None:
        self.bar.stop()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.bar.stop()
