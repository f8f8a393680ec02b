"""What `auto` comes to where the dataset alone decides: pure functions of the prepared store."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from segmodels.architectures import _smp
from segmodels.samples import FloatArray, trained
from segmodels.store import Store

MAX_AREA_PX = 512 * 512
SIDE_MULTIPLE_PX, MIN_SIDE_PX = 32, 64
IMAGES_SEEN = 40_000
"""How many augmented images a training from scratch is given: 100 epochs of a few hundred images."""
FEWEST_EPOCHS, MOST_EPOCHS = 20, 300
LARGEST_WEIGHT = 10.0
"""Beyond it a few pixels of a rare class, some of them labelled wrongly, would outweigh all others."""


@dataclass(frozen=True)
class Decision:
    """A value that was left to us. `key` is its path among a candidate's params, `value` plain JSON, `reason` a sentence for people."""

    key: str
    value: Any
    reason: str


def size_px(store: Store) -> tuple[int, int]:
    """Height and width that the network sees: those of the median training image, shrunk where it is larger than MAX_AREA_PX."""
    training = store.manifest[store.manifest["split"] == "train"]
    height, width = float(training["height"].median()), float(training["width"].median())
    scale = min(1.0, (MAX_AREA_PX / (height * width)) ** 0.5)
    sides = [max(MIN_SIDE_PX, round(side * scale / SIDE_MULTIPLE_PX) * SIDE_MULTIPLE_PX) for side in (height, width)]
    return sides[0], sides[1]


def decide_size_px(store: Store) -> Decision:
    limit = round(MAX_AREA_PX**0.5)
    reason = f"the median training image in multiples of {SIDE_MULTIPLE_PX}, with hardly more pixels than {limit} x {limit}"
    return Decision("training.size_px", list(size_px(store)), reason)


def decide_epochs(store: Store) -> Decision:
    num_images = len(store.rows("train"))
    epochs = min(max(round(IMAGES_SEEN / num_images), FEWEST_EPOCHS), MOST_EPOCHS)
    reason = f"{IMAGES_SEEN:,} images seen, of {num_images} to train on, in {FEWEST_EPOCHS} to {MOST_EPOCHS} epochs"
    return Decision("training.epochs", epochs, reason)


def decide_normalisation(weights: str | None) -> Decision:
    if weights == "imagenet":
        return Decision("training.normalisation", "imagenet", "the encoder was pretrained on images normalised so")
    return Decision(
        "training.normalisation", "dataset", "mean and deviation of the training images, as there is no pretraining on ImageNet"
    )


def mean_and_std(store: Store, normalisation: Literal["dataset", "imagenet"], encoder: str) -> dict[str, list[float]]:
    """What the network normalises by, as keywords of `network.build`."""
    mean, std = (store.mean, store.std) if normalisation == "dataset" else _smp.normalisation(encoder)
    return {"mean": mean, "std": std}


def decide_class_weights(store: Store, key: str) -> Decision:
    """Rare classes count more (see `class_weights`)."""
    weights = class_weights(store)
    names = [one.name for one in trained(store.classes)]
    of = [names[1]] if store.labels.task == "binary" else names
    rarest = max(range(len(weights)), key=weights.__getitem__)
    how = "no against yes, in pixels" if store.labels.task != "multiclass" else "median frequency over its own"
    return Decision(key, weights, f"{how}, at most {LARGEST_WEIGHT:g}; {of[rarest]} counts most")


def class_weights(store: Store) -> list[float]:
    """How much a pixel counts by its class, from the training masks, at most LARGEST_WEIGHT and at least its inverse.

    `multiclass`: median frequency balancing, where a class's frequency is among the pixels of the images it is in (arXiv:1411.4734).
    `binary` and `multilabel`: how many pixels say no for one that says yes. A class that is nowhere counts 1.
    """
    training = store.manifest[store.manifest["split"] == "train"]
    pixels_NC = training[[f"pixels_{index}" for index in range(store.labels.num_classes)]].to_numpy(np.float64)
    known_N = (training["height"] * training["width"] - training["pixels_void"]).to_numpy(np.float64)
    weights_C = _balanced(pixels_NC, known_N) if store.labels.task == "multiclass" else _against(store)
    weights_C = np.where(np.isfinite(weights_C), weights_C, 1.0).clip(1 / LARGEST_WEIGHT, LARGEST_WEIGHT)
    return [float(f"{weight:.4g}") for weight in weights_C]


def _balanced(pixels_NC: FloatArray, known_N: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        frequency_C = pixels_NC.sum(axis=0) / ((pixels_NC > 0) * known_N[:, None]).sum(axis=0)
        balanced_C: FloatArray = np.nanmedian(frequency_C) / frequency_C
    return balanced_C


def _against(store: Store) -> FloatArray:
    """How many pixels say no for one that says yes, by output of the network; NaN where none says yes."""
    counted_V = sum((np.bincount(store.mask(row).reshape(-1), minlength=256) for row in store.rows("train")), np.zeros(256, int))
    every_value = store.labels.of(torch.arange(256, dtype=torch.uint8)[None])  # C x 1 x 256, or 1 x 256 of the values themselves
    said_CV = every_value.reshape(-1, 256).numpy()
    yes_C, no_C = ((counted_V * (said_CV == answer)).sum(axis=1).astype(np.float64) for answer in (1, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        against_C: FloatArray = np.where(yes_C > 0, no_C / yes_C, np.nan)
    return against_C
