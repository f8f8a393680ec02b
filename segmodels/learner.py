"""What one step of a training and of its validation does."""

import copy
import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from segmodels import metrics, objective
from segmodels.batches import Batch
from segmodels.errors import TrainingError
from segmodels.labels import Labels
from segmodels.learning_rate import warmed_up
from segmodels.logits import decide, labelling_of
from segmodels.network import Segmenter
from segmodels.objective import Loss
from segmodels.optimization import Optimization
from segmodels.schedules._moment import Moment, Schedule

DIVERGED = 10.0
"""A loss this many times that of the untrained network is no noise any more."""
LEAST_LOSS = 0.1
"""What an untrained network's is taken for if it is lower: ten times next to nothing is not much."""
FORGOTTEN = 3
"""After so many epochs in a row that are worse than an untrained network, what was learnt is lost. Bounded losses rise no further."""
READ_EVERY = {"cpu": 1, "cuda": 100}
"""After how many micro-batches the loss is looked at: a read waits for the GPU."""


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
    """A Segmenter with its loss, optimizer and schedule. Remembers every epoch's record, also over a resume.

    Lightning's epoch is a `part` here: an epoch is cut into equal parts, after each of which everything is saved. So a long epoch
    loses little when it is killed, and a resume always begins at a part's first step.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        loss: Loss,
        schedule: Schedule,
        optimization: Optimization,
        labels: Labels,
        epochs: int,
        steps_an_epoch: int,
        parts: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.averaged = _frozen_copy(segmenter) if optimization.ema_decay is not None else None
        self.loss = loss
        self.schedule = warmed_up(schedule, optimization.warmup_epochs)
        self.optimization = optimization
        self.labels, self.seed = labels, seed
        self.epochs, self.steps_an_epoch, self.parts = epochs, steps_an_epoch, parts
        self.records: list[EpochRecord] = []
        self.losses: list[Tensor] = []
        self.began: float | None = None  # the loss of the first step, which is the untrained network's
        self.seconds = 0.0
        self.started = time.monotonic()
        self.steps_before = 0
        self.counts = torch.zeros(3, labels.num_classes, dtype=torch.int64)
        self.finite = torch.ones((), dtype=torch.int64)

    @property
    def epoch(self) -> int:
        """The epoch under way, from 1."""
        return self.current_epoch // self.parts + 1

    def reached(self, steps: int) -> str:
        """So many steps as people count them."""
        epochs, inside = divmod(steps, self.steps_an_epoch)
        return f"epoch {epochs}" + (f" and {inside} of {self.steps_an_epoch} steps" if inside else "")

    @property
    def best_epoch(self) -> int:
        """The epoch with the highest validation mIoU, the first of equals; 0 before the first."""
        return max(self.records, key=lambda record: record.val_miou).epoch if self.records else 0

    @property
    def kept(self) -> Segmenter:
        """What is scored and saved: the averaged network, where there is one."""
        return self.segmenter if self.averaged is None else self.averaged

    def configure_optimizers(self) -> Optimizer:
        return self.optimization.optimizer(self.segmenter, capturable=self.device.type == "cuda")

    def on_train_epoch_start(self) -> None:
        self.started = time.monotonic()
        self.losses = [one.to(self.device) for one in self.losses]  # those of a checkpoint are read before the device is known
        frozen = self.epoch <= self.optimization.freeze_encoder_epochs
        self.segmenter.encoder.requires_grad_(not frozen).train(not frozen)

    def on_train_batch_start(self, _: Batch, index: int) -> None:
        # dropout draws from the global generator: seeded by what was seen, a resumed training draws as an unbroken one
        micro_step = index % self.trainer.accumulate_grad_batches
        torch.manual_seed((((self.seed * 1_000_003 + self.global_step) * 1_003 + micro_step) * 101 + self.global_rank) % 2**63)
        self.steps_before = self.global_step
        scores = [record.val_miou for record in self.records]
        total = self.epochs * self.steps_an_epoch
        factor = self.schedule(Moment(self.global_step, total, self.steps_an_epoch, scores))
        for group in self._groups():
            group["lr"] = group["initial_lr"] * factor

    def training_step(self, batch: Batch, index: int) -> Tensor:
        images, masks = batch
        loss = objective.of(self.segmenter, self.loss, images, labelling_of(masks, self.labels).long())
        self.losses.append(loss.detach())
        every = READ_EVERY[self.device.type]
        # of several processes none gives up alone
        if self.trainer.world_size == 1 and index % every == every - 1 and not math.isfinite(float(loss.detach())):
            self._refuse_what_is_no_number(torch.stack(self.losses))
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.optimization.clip(self.segmenter)  # Lightning's own refuses a fused optimizer in mixed precision

    def on_train_batch_end(self, *_: Any) -> None:
        if self.averaged is not None and self.global_step > self.steps_before:
            assert self.optimization.ema_decay is not None
            # early weights are worth little: the average follows quickly at first
            decay = min(self.optimization.ema_decay, (1 + self.global_step) / (10 + self.global_step))
            _move(self.averaged, self.segmenter, share=1 - decay)

    def on_validation_epoch_start(self) -> None:
        if self.trainer.world_size > 1:
            for buffer in self.buffers():  # each process has statistics of its own; those of the first are saved
                torch.distributed.broadcast(buffer, src=0)
        self._each_loss()  # the first that is no number tells more than what came of it
        self._refuse_weights_that_are_no_numbers()
        self.counts = torch.zeros(3, self.labels.num_classes, dtype=torch.int64, device=self.device)
        self.finite = torch.ones((), dtype=torch.int64, device=self.device)

    def validation_step(self, batch: Batch, _: int) -> None:
        images, masks = batch
        logits = self.kept(images)
        self.finite *= logits.isfinite().all()
        predicted, truth = decide(logits, self.labels.task).cpu().numpy(), labelling_of(masks, self.labels).cpu().numpy()
        counts = metrics.counts(predicted, truth, self.labels.num_classes, overlap=self.labels.overlap)
        self.counts += torch.from_numpy(counts).to(self.device)

    def on_validation_epoch_end(self) -> None:
        if not self._over_all(self.finite, "min"):
            self._give_up(f"the logits of validation images are no numbers after epoch {self.epoch}")
        scores = metrics.scores(*self._over_all(self.counts, "sum").cpu().numpy())
        if scores.miou is None:
            raise TrainingError(
                "no validation mask shows any class at the network's size; raise training.size_px or choose other splits"
            )
        losses = self._each_loss()
        self._refuse_a_risen_loss(losses)
        self.records.append(
            EpochRecord(
                epoch=self.epoch,
                train_loss=float(losses.mean()),
                val_miou=scores.miou,
                val_iou=scores.iou,
                learning_rate=float(self._groups()[-1]["lr"]),
                seconds=self.seconds + time.monotonic() - self.started,
            )
        )
        self._refuse_what_is_forgotten()
        self.losses.clear()
        self.seconds = 0.0

    def on_train_epoch_end(self) -> None:
        if len(self.records) < self.epoch:  # an epoch's part that is not the last
            # nothing is saved that would be gone on from in vain
            self._each_loss()
            self._refuse_weights_that_are_no_numbers()
            self.seconds += time.monotonic() - self.started

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["records"] = [record.to_dict() for record in self.records]
        # of all that train together: each goes on from the same
        checkpoint["losses"] = self._over_all(torch.stack(self.losses), "mean").tolist() if self.losses else []
        checkpoint["began"] = self.began
        checkpoint["seconds"] = self.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.records = [EpochRecord(**record) for record in checkpoint["records"]]
        self.losses = [torch.tensor(loss) for loss in checkpoint["losses"]]
        self.began = checkpoint["began"]
        self.seconds = checkpoint["seconds"]

    def _each_loss(self) -> Tensor:
        """Of every micro-batch of the epoch so far. Gives up where one is no number."""
        each = self._over_all(torch.stack(self.losses), "mean")
        self._refuse_what_is_no_number(each)
        if self.began is None:
            self.began = float(each[: self.trainer.accumulate_grad_batches].mean())
        return each

    def _refuse_a_risen_loss(self, losses: Tensor) -> None:
        """Of an epoch: of its second half, as at a high rate a loss may leap at first and come down again."""
        assert self.began is not None
        late = float(losses[len(losses) // 2 :].mean())
        if late > DIVERGED * max(self.began, LEAST_LOSS):
            self._give_up(f"the loss rose to {late:.4g} in epoch {self.epoch}, from {self.began:.4g} at first")

    def _refuse_what_is_forgotten(self) -> None:
        """A loss above the untrained network's is no sign by itself: that of the hardest pixels alone may well rise."""
        assert self.began is not None
        best = max(record.val_miou for record in self.records)
        last = self.records[-FORGOTTEN:]
        if len(last) == FORGOTTEN and all(one.train_loss > self.began and one.val_miou < best / 2 for one in last):
            del self.records[-FORGOTTEN:]  # none of the good ones
            self._give_up(
                f"what was learnt is lost since epoch {last[0].epoch}: the loss stays above the untrained network's {self.began:.4g} "
                f"and validation mIoU below half its best"
            )

    def _refuse_what_is_no_number(self, losses: Tensor) -> None:
        """`losses` are of every micro-batch of the epoch so far."""
        wrong = (~losses.isfinite()).nonzero().flatten()
        if len(wrong):
            step = int(wrong[0]) // self.trainer.accumulate_grad_batches + 1
            self._give_up(f"the loss became {float(losses[wrong[0]])} in step {step} of epoch {self.epoch}")

    def _refuse_weights_that_are_no_numbers(self) -> None:
        """A loss is of the weights before its step: it says nothing of what the last one did to them."""
        if not torch.stack([one.isfinite().all() for one in _tensors(self.segmenter)]).all():
            self._give_up(f"the weights became no numbers in epoch {self.epoch}")

    def _over_all(self, value: Tensor, operation: str) -> Tensor:
        """Brought together over the processes that train together."""
        reduced = self.trainer.strategy.reduce(value, reduce_op=operation)
        assert isinstance(reduced, Tensor)
        return reduced

    def _groups(self) -> list[dict[str, Any]]:
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, Optimizer)
        return optimizer.param_groups

    def _give_up(self, what: str) -> NoReturn:
        """Stop a training that has gone wrong: going on would only cost time."""
        best = max(self.records, key=lambda record: record.val_miou, default=None)
        good = "no epoch was done"
        if best is not None:
            good = f"epoch {len(self.records)} was the last good one, epoch {best.epoch} the best, with mIoU {best.val_miou:.4f}"
        raise TrainingError(
            f"{what} ({good}); lower training.learning_rate (is {self.optimization.learning_rate}), "
            f"set training.gradient_clip: 1 or training.precision: fp32"
        )


def _frozen_copy(segmenter: Segmenter) -> Segmenter:
    return copy.deepcopy(segmenter).requires_grad_(False)


@torch.no_grad()
def _move(averaged: nn.Module, towards: nn.Module, *, share: float) -> None:
    """Move every weight and statistic a share of the way; what is counted is copied."""
    for mine, theirs in zip(_tensors(averaged), _tensors(towards), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, share)
        else:
            mine.copy_(theirs)


def _tensors(module: nn.Module) -> Iterable[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
