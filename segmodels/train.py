"""Stage `train`: train one candidate to a bundle. The demo: about a minute on two CPU cores; CamVid: see the README."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.callbacks import Callback

from segmodels import atomic, batches, bundle, checkpoints, device, locks, project, quantized, thresholds, variants
from segmodels.bundle_facts import Export
from segmodels.errors import InputError
from segmodels.fingerprint import Decision
from segmodels.fitting import Fitting, OnEpoch
from segmodels.network import Segmenter
from segmodels.plan import Plan
from segmodels.recipes import Recipe
from segmodels.resizing import fit_image
from segmodels.samples import ImageArray
from segmodels.store import Store


@dataclass(frozen=True)
class Places:
    """Where a training reads and writes; nothing of it decides what comes out.

    Attributes:
        prepared: the store.
        augmented: the folder of the compiled recipe.
        bundle: the folder to write.
        log: the JSON of the epochs to write.
        checkpoints: checkpoints live under it, by the hash of the inputs.
        gpu_locks: the folder of the locks that say which GPU is taken.
    """

    prepared: Path
    augmented: Path
    bundle: Path
    log: Path
    checkpoints: Path
    gpu_locks: Path


def train(
    plan: Plan,
    places: Places,
    *,
    decisions: Sequence[Decision] = (),
    params: Mapping[str, Any] | None = None,
    export: Export = "onnx",
    on_start: Callable[[str], None] = lambda _: None,
    on_epoch: OnEpoch = lambda *_: None,
    notice: Callable[[str], None] = lambda _: None,
    callbacks: Sequence[Callback] = (),
) -> str:
    """Train a candidate on a prepared dataset; write its bundle and a log of its epochs. Returns the hash of the bundle.

    Killed at any moment and called again with the same inputs, it goes on where it was last saved and ends with the weights that
    an unbroken training would have had (on CPU: bit for bit).

    Args:
        decisions: which of the values nobody asked for, and why they are what they are; for people to read.
        params: what records of the training are to say of it, with the values that were used; kept in the log.
        export: what else the network is written as.
        on_start: told the hash of the inputs before the first step.
        notice: told in a sentence what a person should know.
        callbacks: Lightning's, to watch the training with.

    With `plan.settings.devices` above 1 the program that calls it is started again for each of the others, as Lightning does; there it
    trains, and writes nothing.

    Raises:
        InputError: a batch cannot be shared evenly by the devices, or there are too few of them.
        TrainingError: the loss became no number or rose beyond hope, or one image is too much for the memory.
    """
    settings, store, recipe = plan.settings, Store(places.prepared), places.augmented / "recipe.json"
    batches.refuse_uneven(store, settings.batch_size, settings.devices)
    if len(store.rows("val")) < settings.devices:
        raise InputError(
            f"training.devices: is {settings.devices}, more than the {len(store.rows('val'))} validation images; lower it"
        )
    inputs = plan.inputs(store, recipe)
    digest = checkpoints.digest(inputs)
    folder = places.checkpoints / plan.candidate / digest
    first = device.rank() == 0
    with (
        locks.held(folder / checkpoints.LOCK) if first else contextlib.nullcontext(),
        device.claimed(places.gpu_locks, settings.devices) as chosen,
    ):
        if first:
            on_start(digest)
        precision = device.precision(settings.precision, chosen[0])
        drawn = variants.find(places.augmented, store)
        fitting = Fitting(store, Recipe.load(recipe), drawn, settings, folder, chosen, precision, on_epoch, notice, callbacks)
        learner = fitting.run(lambda: plan.learner(store))
        if not first:
            return ""
        learner.segmenter.load_state_dict(checkpoints.read(checkpoints.best(folder, learner.best_epoch)))
        came_about = {
            "decisions": [asdict(one) for one in decisions],
            "precision": precision,
            "best_epoch": learner.best_epoch,
        }
        held_out = batches.validation(
            store, size_px=settings.size_px, batch_size=settings.batch_size, rank=0, world=1, pin=chosen[0].type == "cuda"
        )
        segmenter = learner.segmenter.eval().to(chosen[0])
        limits = thresholds.choose(held_out, lambda images: segmenter(images.to(chosen[0])), store.labels)
        bundle_sha256 = _save_bundle(
            places.bundle, segmenter, plan, store, thresholds=limits, training={**inputs, **came_about}, export=export
        )
        atomic.write_json(
            places.log,
            {
                "candidate": plan.candidate,
                "inputs_sha256": digest,
                "params": dict(params or {}),
                **came_about,
                "bundle_sha256": bundle_sha256,
                "device": device.describe(chosen[0]),
                "seconds": sum(record.seconds for record in learner.records),
                "epochs": [record.to_dict() for record in learner.records],
            },
        )
        checkpoints.remove_others(folder)
    return bundle_sha256


def _save_bundle(folder: Path, segmenter: Segmenter, plan: Plan, store: Store, *, export: Export, **facts: Any) -> str:
    """Returns its hash."""
    sizes = store.manifest.loc[store.manifest["split"] == "train", ["height", "width"]].to_numpy(np.int64)
    bundle.save(
        folder,
        segmenter,
        candidate=plan.candidate,
        architecture=plan.architecture,
        encoder=plan.encoder,
        options=dict(plan.options),
        task=store.labels.task,
        classes=store.classes,
        size_px=plan.settings.size_px,
        kind=store.kind,
        scale=float(np.median([min(plan.settings.size_px[0] / one, plan.settings.size_px[1] / other) for one, other in sizes])),
        largest_px=(int(sizes[:, 0].max()), int(sizes[:, 1].max())),
        dataset_sha256=store.sha256,
        git_commit=project.git_commit(),
        export=export,
        calibration=_calibration(store, plan.settings.size_px) if export == "int8" else (),
        **facts,
    )
    return bundle.digest(folder)


def _calibration(store: Store, size_px: tuple[int, int]) -> list[ImageArray]:
    """Training images from all over the dataset, as the network sees them."""
    rows = store.rows("train")
    chosen = rows[:: max(1, len(rows) // quantized.CALIBRATING)][: quantized.CALIBRATING]
    return [fit_image(store.image(row), size_px) for row in chosen]
