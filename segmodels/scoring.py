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
from segmodels.dataset import Progress, silent
from segmodels.errors import DatasetError
from segmodels.predict import Predictor
from segmodels.samples import Int64Array, SegmentationClass, trained
from segmodels.store import Store

Kind = Literal["intersection", "truth", "prediction"]
KINDS: tuple[Kind, ...] = ("intersection", "truth", "prediction")


def score(store: Store, predictor: Predictor, *, progress: Progress[int] = silent) -> tuple[pd.DataFrame, np.ndarray, float]:
    """Predict every test image.

    Returns:
        A row an image (id, group, `<kind>_<class>` pixel counts, the image's own mIoU), the confusion matrix summed over all, C x C,
        and the median time of one prediction in ms.
    """
    names, own = [c.name for c in trained(store.classes)], [c.name for c in trained(predictor.bundle.classes)]
    if names != own:
        raise DatasetError(f"the bundle predicts {own}, the dataset has {names}; train a candidate on this dataset")
    num_classes = len(names)
    total = np.zeros((num_classes, num_classes), np.int64)
    rows, times = [], []
    for row in progress(store.rows("test"), "scoring test images"):
        image, mask = np.array(store.image(row)), np.array(store.mask(row))
        start = time.perf_counter()
        predicted = predictor(image)
        times.append(time.perf_counter() - start)
        counts = metrics.confusion(torch.from_numpy(predicted), torch.from_numpy(mask), num_classes).numpy()
        total += counts
        by_kind = dict(zip(KINDS, (counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)), strict=True))
        rows.append(
            {
                "id": str(store.manifest["id"][row]),
                "group": str(store.manifest["group"][row]),
                "miou": metrics.scores(*by_kind.values()).miou,
                **{f"{kind}_{k}": int(by_kind[kind][k]) for kind in KINDS for k in range(num_classes)},
            }
        )
    return pd.DataFrame(rows), total, float(np.median(times) * 1000)


def counts_of(images: pd.DataFrame, kind: Kind, num_classes: int) -> Int64Array:
    """One kind of the counts as an array, images x classes."""
    return images[[f"{kind}_{k}" for k in range(num_classes)]].to_numpy(np.int64)


def summarise(images: pd.DataFrame, classes: Sequence[SegmentationClass]) -> dict[str, Any]:
    """Dataset-level scores of a table of per-image counts."""
    arrays = [counts_of(images, kind, len(classes)) for kind in KINDS]
    found = metrics.scores(*(array.sum(axis=0) for array in arrays))
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
