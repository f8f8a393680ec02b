"""How much a pixel of each class should count, from how often the classes are seen."""

import numpy as np

from segmodels.samples import FloatArray
from segmodels.store import Store

LARGEST_WEIGHT = 10.0
"""Beyond it a few pixels of a rare class, some of them labelled wrongly, would outweigh all others."""


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
    every_value = store.labels.of_array(np.arange(256, dtype=np.uint8)[None])  # C x 1 x 256, or 1 x 256 of the values themselves
    said_CV = every_value.reshape(-1, 256)
    yes_C, no_C = ((counted_V * (said_CV == answer)).sum(axis=1).astype(np.float64) for answer in (1, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        against_C: FloatArray = np.where(yes_C > 0, no_C / yes_C, np.nan)
    return against_C
