"""Scores a bundle image by image: the counts that every comparison of models is made from."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from segmodels import metrics
from segmodels.errors import DatasetError
from segmodels.predict import Predictor
from segmodels.samples import Int64Array, SegmentationClass, trained
from segmodels.store import Store
from segmodels.watching import Progress, silent

Kind = Literal["intersection", "truth", "prediction"]
KINDS: tuple[Kind, ...] = ("intersection", "truth", "prediction")


def score(
    store: Store, predictor: Predictor, *, progress: Progress[int] = silent
) -> tuple[pd.DataFrame, Int64Array | None, float]:
    """Predict every test image.

    Returns:
        A row an image (id, group, `<kind>_<class>` pixel counts, the image's own mIoU), the confusion matrix summed over all, C x C
        (None where classes overlap), and the median time of one prediction in ms.
    """
    names, own = [c.name for c in trained(store.classes)], [c.name for c in trained(predictor.bundle.classes)]
    if names != own:
        raise DatasetError(f"the bundle predicts {own}, the dataset has {names}; train a candidate on this dataset")
    num_classes, overlap = len(names), store.labels.overlap
    if (predictor.bundle.facts.task == "multilabel") != overlap:
        raise DatasetError(
            f"the bundle's task is {predictor.bundle.facts.task}, the dataset's {store.labels.task}; train a candidate on this dataset"
        )
    total = np.zeros((num_classes, num_classes), np.int64)
    rows, times = [], []
    test = store.rows("test")
    for row in progress(test, "scoring test images", len(test)):
        image, truth = np.array(store.image(row)), torch.from_numpy(store.labelling(row))
        start = time.perf_counter()
        predicted = torch.from_numpy(predictor(image))
        times.append(time.perf_counter() - start)
        if not overlap:
            total += metrics.confusion(predicted, truth, num_classes).numpy()
        by_kind = dict(zip(KINDS, metrics.counts(predicted, truth, num_classes, overlap=overlap).numpy(), strict=True))
        rows.append(
            {
                "id": str(store.manifest["id"][row]),
                "group": str(store.manifest["group"][row]),
                "miou": metrics.scores(*by_kind.values()).miou,
                **{f"{kind}_{k}": int(by_kind[kind][k]) for kind in KINDS for k in range(num_classes)},
            }
        )
    return pd.DataFrame(rows), None if overlap else total, float(np.median(times) * 1000)


def counts_of(images: pd.DataFrame, kind: Kind, num_classes: int) -> Int64Array:
    """One kind of the counts as an array, images x classes."""
    return images[[f"{kind}_{k}" for k in range(num_classes)]].to_numpy(np.int64)


def summarise(images: pd.DataFrame, classes: Sequence[SegmentationClass], *, overlap: bool) -> dict[str, Any]:
    """Dataset-level scores of a table of per-image counts."""
    arrays = [counts_of(images, kind, len(classes)) for kind in KINDS]
    found = metrics.scores(*(array.sum(axis=0) for array in arrays), overlap=overlap)
    return {
        "miou": found.miou,
        "pixel_accuracy": found.pixel_accuracy,
        "num_images": len(images),
        "classes": [
            {"name": one.name, "iou": iou, "num_images": int((truth > 0).sum())}
            for one, iou, truth in zip(classes, found.iou, arrays[1].T, strict=True)
        ],
    }


def read_counts(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The per-image counts and the scores that `evaluate` wrote."""
    scores: dict[str, Any] = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return pd.read_parquet(folder / "images.parquet"), scores
