"""Runs a Learner on the devices of this machine, with Lightning: to its end, whatever comes in between."""

import copy
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.strategies import DDPStrategy
from timm.layers.norm_act import convert_sync_batchnorm
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from segmodels import atomic, batches, checkpoints, device
from segmodels.errors import TrainingError
from segmodels.learner import EpochRecord, Learner
from segmodels.network import Segmenter
from segmodels.plan import Settings
from segmodels.recipes import Recipe
from segmodels.store import Store
from segmodels.variants import Variants

Loader = DataLoader[Any]
OnEpoch = Callable[[EpochRecord, int], None]
"""Told of every epoch's record when it is safe on disk, and of how many epochs there will be at most."""


@dataclass(frozen=True)
class Fitting:
    """A training on one device or several, which goes on with smaller micro-batches when memory runs out."""

    store: Store
    recipe: Recipe
    variants: Variants | None
    settings: Settings
    folder: Path
    chosen: list[torch.device]
    precision: device.Precision
    on_epoch: OnEpoch
    notice: Callable[[str], None]
    callbacks: Sequence[Callback]

    def run(self, untrained: Callable[[], Learner]) -> Learner:
        """Train to the end, from the last checkpoint if there is one."""
        if self.chosen[0].type == "cpu":  # threads that wait for those of another process stand still
            torch.set_num_threads(max(1, torch.get_num_threads() // len(self.chosen)))
        batch = batches.fitting(self.store, self.settings.batch_size) // self.settings.devices
        found = self.folder / checkpoints.MICRO_BATCH
        at_most = int(found.read_text()) if found.is_file() else batch  # what has not fitted once is not tried again
        micro = batches.divisor(batch, min(self.settings.micro_batch_size or batch, at_most))
        if found.is_file():
            self.notice(f"goes on with {micro} images at once, as more did not fit into the memory before")
        while True:
            learner = untrained()
            try:
                self._fit(learner, batch, micro)
                return learner
            except device.MEMORY_ERRORS as error:
                if self.settings.deterministic and "deterministic" in str(error):
                    raise TrainingError(
                        f"training.deterministic: the network has a part that is not, on {device.describe(self.chosen[0])} "
                        f"({str(error).splitlines()[0]}); set it to false, or choose another architecture"
                    ) from error
                if not device.is_out_of_memory(error):
                    raise
                told = str(error)
            if micro == 1:
                raise self.settings.too_large(told)
            smaller = batches.divisor(batch, micro // 2)
            atomic.write_text(found, str(smaller))
            if len(self.chosen) > 1:  # the others wait for this one, and know nothing of it
                raise TrainingError(
                    f"out of memory with {micro} images at once on each device; start it again, and it goes on with {smaller} "
                    f"(training.micro_batch_size: {smaller} does so from the start)"
                )
            self.notice(
                f"out of memory with {micro} images at once; goes on with {smaller}, {batch // smaller} times before each step "
                f"(training.micro_batch_size: {smaller} does so from the start)"
            )
            micro = smaller
            del learner  # and with it the optimizer's moments, before there are others
            device.free_memory()

    def _fit(self, learner: Learner, batch: int, micro: int) -> None:
        """`batch` and `micro` are of one device."""
        on_gpu, settings, world = self.chosen[0].type == "cuda", self.settings, len(self.chosen)
        if on_gpu and world > 1:
            learner.segmenter = synchronised(learner.segmenter)
        # greetings and advice of Lightning; what matters of them our own progress says
        logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
        with warnings.catch_warnings():
            # advice for other machines: more workers are slower on few cores, and a short epoch is no mistake
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
            warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")  # Lightning's use of torch
            trainer = pl.Trainer(
                accelerator="gpu" if on_gpu else "cpu",
                devices=[one.index for one in self.chosen] if on_gpu else world,
                strategy="auto" if world == 1 else _shared(learner, settings.strategy),
                use_distributed_sampler=False,  # ours share by themselves
                precision="bf16-mixed" if self.precision == "bf16" else "32-true",
                deterministic=settings.deterministic,
                benchmark=on_gpu
                and not settings.deterministic,  # crops are of one size: the quickest convolution is looked for once
                max_epochs=settings.epochs * learner.parts,
                check_val_every_n_epoch=learner.parts,
                accumulate_grad_batches=batch // micro,
                callbacks=[*self.callbacks, PartEnd(self.folder, settings.early_stopping_patience, self.on_epoch)],
                plugins=[checkpoints.AtomicCheckpointIO()],
                logger=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                default_root_dir=self.folder,
            )
            last = self.folder / checkpoints.LAST
            # saved inside the hook at a part's end, before Lightning counts it
            start = checkpoints.read(last)["epoch"] + 1 if last.is_file() else 0
            self._run(
                trainer,
                learner,
                batches.training(
                    self.store,
                    self.recipe,
                    self.variants,
                    batch_size=batch * world,
                    micro_batch_size=micro,
                    balanced_crops=settings.balanced_crops,
                    parts=learner.parts,
                    start=start,
                    rank=device.rank(),
                    world=world,
                    seed=settings.seed,
                    pin=on_gpu,
                ),
                batches.validation(
                    self.store, size_px=settings.size_px, batch_size=micro, rank=device.rank(), world=world, pin=on_gpu
                ),
                last if last.is_file() else None,
            )

    def _run(self, trainer: pl.Trainer, learner: Learner, training: Loader, validation: Loader, last: Path | None) -> None:
        try:
            trainer.fit(learner, training, validation, ckpt_path=last, weights_only=True)
        except SystemExit:  # Lightning's way of passing Ctrl-C on
            if trainer.interrupted:
                path = self.folder / checkpoints.LAST
                kept = f"up to {learner.reached(checkpoints.read(path)['global_step'])}" if path.is_file() else "nothing yet"
                self.notice(f"what it has learned is saved: {kept} (every epoch, and every training.checkpoint_steps)")
                raise KeyboardInterrupt from None
            raise


def synchronised(segmenter: Segmenter) -> Segmenter:
    """With a batch normalisation whose statistics are those of all devices together.

    timm's conversion knows timm's own kind, which has an activation in it; torch's, which Lightning would use, drops that in silence.
    """
    converted: Segmenter = convert_sync_batchnorm(segmenter)  # type: ignore[no-untyped-call]
    return converted


class PartEnd(Checkpoint):
    """After every part of an epoch keeps all that a resume needs; after its last part the weights too, if they are the best so far.

    The weights first, then the rest, then the epoch is told: a kill in between repeats a part, but never loses the best epoch, and the
    weights are those of the epoch that the rest speaks of. Stops
    when `patience` epochs have brought nothing better: told from the records, so that a training killed after its last epoch does not
    add another (Lightning's EarlyStopping would). Lightning runs a `Checkpoint` after all other callbacks, whose state is part of
    what is kept.
    """

    def __init__(self, folder: Path, patience: int | None, on_epoch: OnEpoch) -> None:
        self.folder, self.patience, self.on_epoch = folder, patience, on_epoch

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        trainer.should_stop = self._ran_out(pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        told = len(pl_module.records) == pl_module.epoch
        if told and pl_module.epoch == pl_module.best_epoch and trainer.is_global_zero:
            checkpoints.write(checkpoints.best(self.folder, pl_module.epoch), pl_module.kept.state_dict())
        trainer.save_checkpoint(self.folder / checkpoints.LAST, weights_only=False)
        if told:
            if trainer.is_global_zero:
                checkpoints.remove_other_bests(self.folder, pl_module.best_epoch)
                self.on_epoch(pl_module.records[-1], pl_module.epochs)
            trainer.should_stop = self._ran_out(pl_module)

    def _ran_out(self, learner: Learner) -> bool:
        return self.patience is not None and len(learner.records) - learner.best_epoch >= self.patience


class _InBFloat16(DDPStrategy):
    """Gradients are rounded to bfloat16 on their way: half the bytes."""

    def _setup_model(self, model: torch.nn.Module) -> DistributedDataParallel:  # Lightning's own hooks are for CUDA alone
        shared = super()._setup_model(model)
        shared.register_comm_hook(None, default_hooks.bf16_compress_hook)
        return shared


STRATEGIES = {"ddp": DDPStrategy, "ddp_bf16": _InBFloat16}


def _shared(learner: Learner, strategy: str) -> DDPStrategy:
    """Each process its share of the batch, their gradients averaged before every step (DistributedDataParallel).

    Statistics are brought together by `Learner` before they are used: DDP would do so before every batch, and wait for ever where one
    process validates one batch more than another.
    """
    without_gradient = learner.optimization.freeze_encoder_epochs > 0 or _has_unused(learner.segmenter)
    return STRATEGIES[strategy](broadcast_buffers=False, find_unused_parameters=without_gradient)


def _has_unused(segmenter: Segmenter) -> bool:
    """Whether there are weights that no logit depends on: EfficientNet comes with a convolution after its last features."""
    trial = copy.deepcopy(segmenter).train()  # a step in training moves the statistics
    side = segmenter.min_size_px
    outputs = trial(torch.zeros(2, segmenter.mean.numel(), side, side))
    sum(one.sum() for one in (outputs if isinstance(outputs, tuple) else (outputs,))).backward()
    return any(parameter.grad is None for parameter in trial.parameters())
