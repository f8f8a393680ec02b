"""The table of what was counted in each image, and the scores that come of it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from segmodels import metrics
from segmodels.samples import Int64Array, SegmentationClass

TEST, VALIDATION = "images.parquet", "validation.parquet"
"""The tables that `evaluate` writes, by what images they are of."""
NUM_SIZES = 3
SLICED = ("miou", "boundary_iou", "pixel_accuracy", "num_images")

Kind = Literal["intersection", "truth", "prediction", "boundary_intersection", "boundary_truth", "boundary_prediction"]
INSIDE: tuple[Kind, ...] = ("intersection", "truth", "prediction")
NEAR: tuple[Kind, ...] = ("boundary_intersection", "boundary_truth", "boundary_prediction")
KINDS = (*INSIDE, *NEAR)
"""Pixels that were predicted rightly, that are true, that were predicted; and of these the ones near borders."""


def counts_of(images: pd.DataFrame, kind: Kind, num_classes: int) -> Int64Array:
    """One kind of the counts as an array, images x classes."""
    return images[[f"{kind}_{k}" for k in range(num_classes)]].to_numpy(np.int64)


def summarise(images: pd.DataFrame, classes: Sequence[SegmentationClass], *, overlap: bool) -> dict[str, Any]:
    """Dataset-level scores of a table of per-image counts."""
    arrays = [counts_of(images, kind, len(classes)) for kind in KINDS]
    sums = [array.sum(axis=0) for array in arrays]
    found, near = metrics.scores(*sums[:3], overlap=overlap), metrics.scores(*sums[3:])
    own = images["miou"].dropna()
    by_class = zip(classes, found.iou, found.dice, found.precision, found.recall, near.iou, arrays[1].T, strict=True)
    return {
        "miou": found.miou,
        "frequency_weighted_iou": found.frequency_weighted_iou,
        "boundary_iou": near.miou,
        "mean_image_iou": float(own.mean()) if len(own) else None,
        "pixel_accuracy": found.pixel_accuracy,
        "num_images": len(images),
        "classes": [
            {
                "name": one.name,
                "iou": iou,
                "dice": dice,
                "precision": precision,
                "recall": recall,
                "boundary_iou": border,
                "num_images": int((truth > 0).sum()),
            }
            for one, iou, dice, precision, recall, border, truth in by_class
        ],
    }


def sliced(images: pd.DataFrame, classes: Sequence[SegmentationClass], *, overlap: bool) -> dict[str, list[dict[str, Any]]]:
    """Scores of parts of the images, see `parts`."""
    return {
        by: [
            {
                "name": name,
                **{key: value for key, value in summarise(images[inside], classes, overlap=overlap).items() if key in SLICED},
            }
            for name, inside in found.items()
        ]
        for by, found in parts(images).items()
    }


def parts(images: pd.DataFrame) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """What is in each part of the images: by group, where there are some of several images, and by size, in thirds where there are many."""
    found: dict[str, dict[str, NDArray[np.bool_]]] = {}
    group = images["group"].astype(str).to_numpy()
    names = np.unique(group)
    if 1 < len(names) < len(images):
        found["group"] = {str(name): group == name for name in names}
    area = (images["height"] * images["width"]).to_numpy(np.int64)
    sizes = np.unique(area)
    if len(sizes) > 1:
        # where the thirds of the images begin, and no size in two of them
        starts = sizes if len(sizes) <= NUM_SIZES else np.unique(np.quantile(area, [0, 1 / 3, 2 / 3], method="higher"))
        third = np.searchsorted(starts, area, side="right")
        found["size"] = {_range(area[third == one]): third == one for one in np.unique(third)}
    return found


def _range(areas: Int64Array) -> str:
    return f"{areas.min():,} px" if areas.min() == areas.max() else f"{areas.min():,} to {areas.max():,} px"


def read_counts(folder: Path, table: str = TEST) -> pd.DataFrame:
    """The per-image counts that `evaluate` wrote, in the order of the images' ids."""
    return pd.read_parquet(folder / table).sort_values("id", ignore_index=True)


def read_scores(folder: Path) -> dict[str, Any]:
    """The scores that `evaluate` wrote."""
    scores: dict[str, Any] = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return scores
