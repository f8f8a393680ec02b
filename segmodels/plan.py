"""What a candidate is trained to be, and how: all that decides how its training ends."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

import torch

from segmodels import batches, catalog, digests, fingerprint, network, objective
from segmodels.errors import TrainingError
from segmodels.learner import Learner
from segmodels.network import Segmenter
from segmodels.objective import Loss, Term
from segmodels.optimization import Optimization
from segmodels.store import Store


@dataclass(frozen=True)
class Settings:
    """How a training runs.

    Attributes:
        size_px: height and width of the crops that the recipe draws.
        batch_size: images a step of the weights.
        normalisation: by mean and deviation of the training images, or of those that the encoder was pretrained on.
        micro_batch_size: how many of them pass the network at once; the gradients of the rest are added up. None for all.
        balanced_crops: the share of the samples that are drawn for a class instead, all classes alike: an image that shows it, cut around it.
        early_stopping_patience: epochs without a better validation mIoU after which it ends; None for never.
        devices: how many GPUs, or processes on the CPU, train it together; each gets its share of every batch.
        strategy: how they exchange gradients: as they are, or rounded to bfloat16, which is half the bytes.
        checkpoint_steps: how many steps a kill may cost at most; an epoch's end is always kept.
        deterministic: on a GPU too the same inputs give the same weights, at some cost; on the CPU they always do.
    """

    size_px: tuple[int, int]
    epochs: int
    batch_size: int
    seed: int
    normalisation: Literal["dataset", "imagenet"] = "dataset"
    micro_batch_size: int | None = None
    balanced_crops: float = 0.0
    early_stopping_patience: int | None = None
    devices: int = 1
    strategy: Literal["ddp", "ddp_bf16"] = "ddp"
    checkpoint_steps: int = 500
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    deterministic: bool = False

    def too_large(self, told: str) -> TrainingError:
        """What to do where the memory has no room for a single image; `told` are torch's words."""
        return TrainingError(
            f"out of memory with one image of {self.size_px} pixels at once; lower training.size_px, "
            f"or choose a smaller encoder ({told})"
        )


@dataclass(frozen=True)
class Plan:
    """A candidate with nothing left open."""

    candidate: str
    architecture: str
    encoder: str
    weights: str | None
    options: Mapping[str, Any]
    loss: Sequence[Term]
    schedule: str
    schedule_options: Mapping[str, Any]
    optimization: Optimization
    settings: Settings

    @classmethod
    def of(cls, *, training: Mapping[str, Any], **others: Any) -> Self:
        """From the values of `training:` in params.yaml, which are of the settings and of the optimization, and the other fields."""
        moving = {one.name for one in fields(Optimization)}
        return cls(
            **others,
            optimization=Optimization(**{key: value for key, value in training.items() if key in moving}),
            settings=Settings(**{key: value for key, value in training.items() if key not in moving}),
        )

    @property
    def training(self) -> dict[str, Any]:
        """The values of `training:` as params.yaml has them."""
        return asdict(self.settings) | asdict(self.optimization) | {"size_px": list(self.settings.size_px)}

    def inputs(self, store: Store, recipe: Path) -> dict[str, Any]:
        """All that decides how the training ends, as values to hash and to keep."""
        return {
            "candidate": self.candidate,
            "architecture": self.architecture,
            "encoder": self.encoder,
            "weights": digests.of_weights(self.weights),
            "options": dict(self.options),
            "loss": [term._asdict() for term in self.loss],
            "schedule": {"name": self.schedule, **self.schedule_options},
            "optimization": asdict(self.optimization),
            "settings": asdict(self.settings),
            "dataset": store.sha256,
            "recipe": json.loads(recipe.read_text(encoding="utf-8")),
        }

    def segmenter(self, store: Store) -> Segmenter:
        """The untrained network, the same each time."""
        torch.manual_seed(self.settings.seed)
        return network.build(
            architecture=self.architecture,
            encoder=self.encoder,
            weights=self.weights,
            options=dict(self.options),
            num_logits=store.labels.num_logits,
            **fingerprint.mean_and_std(store, self.settings.normalisation, self.encoder),
        )

    def objective(self, store: Store) -> Loss:
        return objective.build(store.labels.task, self.loss)

    def learner(self, store: Store) -> Learner:
        """The untrained network with all that trains it."""
        steps = len(store.rows("train")) // batches.fitting(store, self.settings.batch_size)
        parts = in_parts(steps, self.settings.checkpoint_steps)
        return Learner(
            self.segmenter(store),
            loss=self.objective(store),
            schedule=catalog.build("schedules", self.schedule, options=dict(self.schedule_options)),
            optimization=self.optimization,
            labels=store.labels,
            epochs=self.settings.epochs,
            steps_an_epoch=steps // parts * parts,
            parts=parts,
            seed=self.settings.seed,
        )


def in_parts(steps: int, checkpoint_steps: int) -> int:
    """How many equal parts an epoch has, none longer than `checkpoint_steps`: of so many and up to twice as many, those that leave out the
    fewest steps, which an epoch of another length would have had."""
    fewest = -(-steps // checkpoint_steps)
    return min(range(fewest, min(2 * fewest, steps) + 1), key=lambda parts: (steps % parts, parts))
