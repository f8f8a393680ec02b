"""Stage `train`: train one candidate to a bundle. The demo: about a minute on two CPU cores; CamVid: see the README."""

import json
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from segmodels import atomic, batches, bundle, catalog, checkpoints, device, locks, network
from segmodels.learner import EpochRecord, Learner
from segmodels.recipes import Recipe
from segmodels.store import Store

OnEpoch = Callable[[EpochRecord, int], None]
"""Told of every epoch's record as it ends, and of how many epochs there will be at most."""


def train(
    prepared: Path,
    augmented: Path,
    bundle_folder: Path,
    log_path: Path,
    *,
    candidate: str,
    architecture: str,
    encoder: str,
    weights: str | None,
    options: dict[str, Any],
    loss: str,
    loss_options: dict[str, Any],
    schedule: str,
    schedule_options: dict[str, Any],
    size_px: tuple[int, int],
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    early_stopping_patience: int | None,
    precision: Literal["auto", "bf16", "fp32"],
    seed: int,
    checkpoints_folder: Path,
    gpu_locks: Path,
    on_start: Callable[[str], None] = lambda _: None,
    on_epoch: OnEpoch = lambda *_: None,
    callbacks: Sequence[Callback] = (),
) -> str:
    """Train a candidate on a prepared dataset; write its bundle and `log_path`, a JSON of its epochs.

    Returns the hash of the bundle.

    Killed at any moment and called again with the same inputs, it goes on from the last whole epoch and ends with the weights that
    an unbroken training would have had (on CPU: bit for bit). Checkpoints live under `checkpoints_folder`, by the hash of the inputs.

    Args:
        size_px: height and width of the crops that the recipe in `augmented` draws.
        on_start: told the hash of the inputs before the first step.
        callbacks: Lightning's, to watch the training with.
    """
    inputs = {key: value for key, value in locals().items() if key not in _NO_INPUTS}
    store, recipe_path = Store(prepared), augmented / "recipe.json"
    recipe = Recipe.load(recipe_path)
    inputs |= {"dataset": store.sha256, "recipe": json.loads(recipe_path.read_text(encoding="utf-8"))}
    digest = checkpoints.digest(inputs)
    folder = checkpoints_folder / candidate / digest
    with locks.held(folder / "lock"), device.claimed(gpu_locks) as chosen:
        on_start(digest)
        used_precision = device.precision(precision, chosen)
        torch.manual_seed(seed)
        learner = Learner(
            network.build(
                architecture=architecture,
                encoder=encoder,
                weights=weights,
                options=options,
                num_classes=store.num_classes,
                mean=store.mean,
                std=store.std,
            ),
            loss=catalog.build("losses", loss, options=loss_options),
            schedule=lambda optimizer, steps: catalog.build("schedules", schedule, optimizer, steps, options=schedule_options),
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            num_classes=store.num_classes,
            seed=seed,
        )
        _fit(
            learner,
            store,
            recipe,
            folder=folder,
            chosen=chosen,
            precision=used_precision,
            size_px=size_px,
            epochs=epochs,
            batch_size=batch_size,
            patience=early_stopping_patience,
            seed=seed,
            callbacks=[_Tell(on_epoch), *callbacks],
        )
        best = checkpoints.read(folder / checkpoints.BEST)
        learner.load_state_dict(best["state_dict"])
        best_epoch = max(learner.records, key=lambda record: record.val_miou).epoch
        bundle.save(
            bundle_folder,
            learner.segmenter,
            candidate=candidate,
            architecture=architecture,
            encoder=encoder,
            options=options,
            classes=store.classes,
            size_px=size_px,
            training={**inputs, "precision": used_precision, "best_epoch": best_epoch},
            dataset_sha256=store.sha256,
        )
        bundle_sha256 = bundle.digest(bundle_folder)
        atomic.write_json(
            log_path,
            {
                "candidate": candidate,
                "inputs_sha256": digest,
                "bundle_sha256": bundle_sha256,
                "device": _name_of(chosen),
                "precision": used_precision,
                "best_epoch": best_epoch,
                "seconds": sum(record.seconds for record in learner.records),
                "epochs": [record.to_dict() for record in learner.records],
            },
        )
        checkpoints.remove_others(folder)
    return bundle_sha256


_NO_INPUTS = {
    "prepared",
    "augmented",
    "bundle_folder",
    "log_path",
    "checkpoints_folder",
    "gpu_locks",
    "on_start",
    "on_epoch",
    "callbacks",
}
"""Arguments of `train` that say where things are, not what comes out."""


def _fit(
    learner: Learner,
    store: Store,
    recipe: Recipe,
    *,
    folder: Path,
    chosen: torch.device,
    precision: device.Precision,
    size_px: tuple[int, int],
    epochs: int,
    batch_size: int,
    patience: int | None,
    seed: int,
    callbacks: Sequence[Callback],
) -> None:
    on_gpu = chosen.type == "cuda"
    callbacks = list(callbacks)
    if patience is not None:
        callbacks.append(EarlyStopping("val_miou", mode="max", patience=patience, check_on_train_epoch_end=True))
    callbacks += [
        # two of them, since one with `save_last` skips the epochs that are not the best so far
        ModelCheckpoint(folder, checkpoints.BEST_STEM, "val_miou", mode="max", **_EVERY_EPOCH),
        ModelCheckpoint(folder, checkpoints.LAST_STEM, **_EVERY_EPOCH),
    ]
    # greetings and advice of Lightning; what matters of them our own progress says
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # advice for other machines: more workers are slower on few cores, and a short epoch is no mistake
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")  # Lightning's use of torch
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
        trainer = pl.Trainer(
            accelerator="gpu" if on_gpu else "cpu",
            devices=[chosen.index] if on_gpu else 1,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
            max_epochs=epochs,
            callbacks=callbacks,
            plugins=[checkpoints.AtomicCheckpointIO()],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=folder,
        )
        last = folder / checkpoints.LAST
        trainer.fit(
            learner,
            batches.training(store, recipe, batch_size=batch_size, seed=seed, pin=on_gpu),
            batches.validation(store, size_px=size_px, batch_size=batch_size, pin=on_gpu),
            ckpt_path=last if last.is_file() else None,
            weights_only=True,
        )
    if trainer.interrupted:
        raise KeyboardInterrupt


_EVERY_EPOCH: dict[str, Any] = {"save_top_k": 1, "save_on_train_epoch_end": True, "enable_version_counter": False}


class _Tell(Callback):
    """Passes the record of every epoch on."""

    def __init__(self, on_epoch: OnEpoch) -> None:
        self.on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Learner) and trainer.max_epochs is not None
        self.on_epoch(pl_module.records[-1], trainer.max_epochs)


def _name_of(chosen: torch.device) -> str:
    if chosen.type == "cuda":
        return torch.cuda.get_device_name(chosen)
    return f"CPU, {torch.get_num_threads()} threads"
