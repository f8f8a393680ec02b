"""What one step of a training and of its validation does."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from segmodels import metrics
from segmodels.batches import Batch
from segmodels.errors import TrainingError
from segmodels.network import Segmenter

Loss = Callable[[Tensor, Tensor], Tensor]
Schedule = Callable[[Optimizer, int], LRScheduler]


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch came to. `epoch` counts from 1; `val_iou` is by class, None for classes not in the validation set."""

    epoch: int
    train_loss: float
    val_miou: float
    val_iou: list[float | None]
    learning_rate: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Learner(pl.LightningModule):
    """A Segmenter with its loss, optimizer and schedule. Remembers every epoch's record, also over a resume."""

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        loss: Loss,
        schedule: Schedule,
        learning_rate: float,
        weight_decay: float,
        num_classes: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.loss, self.schedule = loss, schedule
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.num_classes, self.seed = num_classes, seed
        self.records: list[EpochRecord] = []
        self.started = time.monotonic()
        self.losses: list[Tensor] = []
        self.counts = torch.zeros(num_classes, num_classes, dtype=torch.int64)

    def configure_optimizers(self) -> Any:
        on_gpu = self.device.type == "cuda"
        optimizer = torch.optim.AdamW(
            self.segmenter.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True, capturable=on_gpu
        )
        scheduler = self.schedule(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        # dropout draws from the global generator: seeded by epoch, a resumed training draws as an unbroken one
        torch.manual_seed(self.seed * 100_003 + self.current_epoch)
        self.started = time.monotonic()
        self.losses.clear()

    def training_step(self, batch: Batch, _: int) -> Tensor:
        images, masks = batch
        loss = self.loss(self.segmenter(images).float(), masks.long())
        self.losses.append(loss.detach())  # read once an epoch: a read waits for the GPU
        return loss

    def on_validation_epoch_start(self) -> None:
        self.counts = torch.zeros(self.num_classes, self.num_classes, dtype=torch.int64, device=self.device)

    def validation_step(self, batch: Batch, _: int) -> None:
        images, masks = batch
        self.counts += metrics.confusion(self.segmenter(images).argmax(dim=1), masks, self.num_classes)

    def on_validation_epoch_end(self) -> None:
        counts = self.counts.cpu().numpy()
        scores = metrics.scores(counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0))
        if scores.miou is None:
            raise TrainingError("every pixel of the validation masks is void; label some or choose other splits")
        train_loss = float(torch.stack(self.losses).mean())
        if not torch.isfinite(torch.tensor(train_loss)):
            raise TrainingError(
                f"the loss became {train_loss} in epoch {self.current_epoch + 1}; lower training.learning_rate "
                f"(is {self.learning_rate}) or set training.precision: fp32"
            )
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, Optimizer)
        self.records.append(
            EpochRecord(
                epoch=self.current_epoch + 1,
                train_loss=train_loss,
                val_miou=scores.miou,
                val_iou=scores.iou,
                learning_rate=float(optimizer.param_groups[0]["lr"]),
                seconds=time.monotonic() - self.started,
            )
        )
        self.log("val_miou", scores.miou)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["records"] = [record.to_dict() for record in self.records]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.records = [EpochRecord(**record) for record in checkpoint["records"]]
