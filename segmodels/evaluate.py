"""Stage `evaluate`: score a bundle on the frozen test set, image by image, through the same `predict` that serves."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from segmodels import atomic, bundle
from segmodels.images import colored, shown
from segmodels.pictures import sheet
from segmodels.predict import Predictor
from segmodels.samples import IGNORE_INDEX, trained
from segmodels.scoring import score, summarise
from segmodels.store import Store
from segmodels.watching import Progress, silent

NUM_WORST = 8


def evaluate(
    prepared: Path,
    bundle_folder: Path,
    counts_folder: Path,
    scores_path: Path,
    worst_path: Path,
    *,
    on: torch.device | None = None,
    progress: Progress[int] = silent,
) -> dict[str, Any]:
    """Score one bundle on the test images.

    Writes the counts of every image (`images.parquet`) and the scores (`scores.json`) to `counts_folder` for `compare`, the
    scores again to `scores_path`, and the worst images as a picture to `worst_path`. Returns the scores.

    Raises:
        DatasetError: the bundle was trained on other classes than the dataset has.
    """
    store, loaded = Store(prepared), bundle.load(bundle_folder)
    predictor = Predictor(loaded, on=on)
    images, confusion, latency_ms = score(store, predictor, progress=progress)
    report = {
        "candidate": loaded.facts.candidate,
        **summarise(images, trained(loaded.classes), overlap=store.labels.overlap),
        "confusion": None if confusion is None else confusion.tolist(),
        "latency_ms": latency_ms,
        "device": predictor.device.type,
        "precision": predictor.precision,
        "num_parameters": loaded.num_parameters,
        "bundle_sha256": loaded.sha256,
        "test_sha256": store.digest("test"),
    }
    with atomic.folder(counts_folder) as partial:
        images.to_parquet(partial / "images.parquet", index=False)
        atomic.write_json(partial / "scores.json", report)
    draw_worst(store, predictor, images, worst_path)
    atomic.write_json(scores_path, report)
    return report


def draw_worst(store: Store, predictor: Predictor, images: pd.DataFrame, path: Path) -> None:
    """The images with the lowest mIoU of their own: the image, the truth, the prediction, and where they differ."""
    position = {str(store.manifest["id"][row]): row for row in store.rows("test")}
    worst = images.dropna(subset="miou").nsmallest(NUM_WORST, "miou")
    rows, names = [], []
    for one in worst.itertuples():
        image, truth = np.array(store.image(position[str(one.id)])), store.labelling(position[str(one.id)])
        predicted = predictor(image)
        image = shown(image)
        wrong = (predicted != truth) & (truth != IGNORE_INDEX)
        wrong_HW = wrong.any(axis=0) if store.labels.overlap else wrong
        errors = np.where(wrong_HW[..., None], np.array((213, 94, 0), np.uint8), image // 3)
        rows.append([image, colored(truth, store.classes), colored(predicted, store.classes), errors])
        names.append(f"{one.id}\nmIoU {one.miou:.2f}")
    if rows:
        sheet(path, rows, titles=["image", "truth", "prediction", "errors"], names=names, classes=store.classes)
