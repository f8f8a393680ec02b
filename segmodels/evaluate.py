"""Stage `evaluate`: score a bundle on the frozen test set, image by image, through the same `predict` that serves.

And on the validation images, which candidates are chosen by: a test set that chooses is no fresh one for the gate.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pandas as pd
import torch

from segmodels import atomic, backends, bundle, labellings, latency, pictures
from segmodels.bundle import Bundle
from segmodels.calibration import Calibration
from segmodels.confusions import CELLS, Confusion, Confusions
from segmodels.counts import TEST, VALIDATION, sliced, summarise
from segmodels.images import colored, shown
from segmodels.objects import Objects
from segmodels.predict import Predictor
from segmodels.samples import IGNORE_INDEX, BoolArray, UInt8Array, trained
from segmodels.scoring import counted, disagreements, predictions, score
from segmodels.store import Store
from segmodels.watching import Progress, silent

NUM_WORST, NUM_CONFUSED = 8, 6
LONGEST_PX = 800
"""The longer side of a picture in a sheet, which shows it at half of that."""
MAX_DISAGREEMENT: dict[backends.Precision, float] = {"fp32": 0.001, "bf16": 0.001, "int8": 0.002}
"""The share of pixels that an exported network may label otherwise than torch in float32 does, by its precision."""


def evaluate(
    prepared: Path,
    bundle_folder: Path,
    counts_folder: Path,
    reports: Path,
    *,
    on: torch.device | None = None,
    backend: backends.Name | Literal["auto"] = "auto",
    progress: Progress[int] = silent,
) -> dict[str, Any]:
    """Score one bundle on the test images.

    Writes the counts of every image (`images.parquet`, and `validation.parquet`), what was taken for what in it (`confusions.parquet`), what was
    predicted of it (`labellings.zip`) and the scores (`scores.json`) to `counts_folder` for `compare` and the dashboard, and for people to `reports` the scores again, the worst images (`worst.png`), the classes that are taken for each other (`confused.png`) and how far
    the model's own probabilities are to be believed (`calibration.png`). Returns the scores.

    Args:
        backend: what is to run the network; an exported one that disagrees with torch in float32 on more than MAX_DISAGREEMENT of the
            test images' pixels is refused, and the next tried: of 8 bits, in the machine's precision, in float32, torch.

    Raises:
        DatasetError: the bundle was trained on other classes than the dataset has.
    """
    store, loaded = Store(prepared), bundle.load(bundle_folder)
    classes, overlap = trained(loaded.classes), store.labels.overlap
    predictor, apart = _settled(store, loaded, backend, on, progress)
    with atomic.folder(counts_folder) as partial:
        seen = _seen(store, predictor, partial, progress)
        validation = score(store, predictor, "val", progress=progress).astype({"miou": float})
        report = {
            "candidate": loaded.facts.candidate,
            **summarise(seen.images, classes, overlap=overlap),
            "validation_miou": summarise(validation, classes, overlap=overlap)["miou"],
            "calibration": seen.calibration.to_dict(),
            "confusion": None if overlap else seen.confusions.total.tolist(),
            "objects": seen.objects.to_dict([one.name for one in classes]),
            "slices": sliced(seen.images, classes, overlap=overlap),
            **latency.measure(predictor, (np.array(store.image(row)) for row in latency.chosen(store.rows("test")))),
            "device": predictor.backend.device.type,
            "backend": predictor.backend.name,
            "precision": predictor.backend.precision,
            "disagreement": apart,
            "num_parameters": loaded.facts.num_parameters,
            "size_mb": (loaded.folder / bundle.WEIGHTS).stat().st_size / 1e6,
            "bundle_sha256": loaded.sha256,
            "test_sha256": store.digest("test"),
            "validation_sha256": store.digest("val"),
        }
        seen.images.to_parquet(partial / TEST, index=False)
        validation.to_parquet(partial / VALIDATION, index=False)
        seen.confusions.table().to_parquet(partial / CELLS, index=False)
        atomic.write_json(partial / "scores.json", report)
    draw_worst(store, predictor, seen.images, reports / "worst.png")
    draw_confused(store, predictor, seen.confusions.worst(NUM_CONFUSED), reports / "confused.png")
    pictures.calibration(reports / "calibration.png", report["calibration"])
    atomic.write_json(reports / "scores.json", report)
    return report


@dataclass(frozen=True)
class _Seen:
    """What was counted of the test images; where classes overlap no confusions."""

    images: pd.DataFrame
    calibration: Calibration
    objects: Objects
    confusions: Confusions


def _seen(store: Store, predictor: Predictor, folder: Path, progress: Progress[int]) -> _Seen:
    """Predict every test image, keep its labelling in `folder`, and count."""
    num_classes, overlap = store.labels.num_classes, store.labels.overlap
    rows, calibration, objects, confusions = [], Calibration(), Objects(num_classes), Confusions(num_classes)
    with labellings.writing(folder / labellings.NAME) as kept:
        for one in predictions(store, predictor, progress=progress):
            rows.append(counted(one, num_classes, overlap=overlap))
            known = one.truth != IGNORE_INDEX
            calibration.add(one.confidence[known], (one.labelling == one.truth)[known])
            objects.add(one.labelling, one.truth, overlap=overlap)
            if not overlap:
                confusions.add(one.row, one.labelling, one.truth)
            kept.add(one.row, one.labelling)
    return _Seen(pd.DataFrame(rows).astype({"miou": float}), calibration, objects, confusions)


def _settled(
    store: Store, loaded: Bundle, backend: backends.Name | Literal["auto"], on: torch.device | None, progress: Progress[int]
) -> tuple[Predictor, dict[str, float]]:
    """The predictor to score and to serve with: the quickest that agrees with torch in float32, which is that where none does.

    Returns also the share of the test images' pixels on which each that was tried does not agree, by backend and precision.
    """
    usual = backends.load(loaded, backend, on=on)
    if usual.name == "torch":
        return Predictor(loaded, usual), {}
    reference = Predictor(loaded, backends.load(loaded, "torch", on=usual.device, precision="fp32"))
    apart: dict[str, float] = {}
    tried = (
        [usual]
        if usual.name != "openvino" or not loaded.has_int8
        else [backends.load(loaded, "openvino", precision="int8"), usual]
    )
    while tried:
        predictors = [Predictor(loaded, one) for one in tried]
        shares = disagreements(store, predictors, reference, progress=progress)
        apart |= {f"{one.name} {one.precision}": share for one, share in zip(tried, shares, strict=True)}
        for predictor, share in zip(predictors, shares, strict=True):
            if share <= MAX_DISAGREEMENT[predictor.backend.precision]:
                return predictor, apart
        tried = [] if tried[-1].precision == "fp32" else [backends.load(loaded, usual.name, on=usual.device, precision="fp32")]
    return reference, apart


def draw_worst(store: Store, predictor: Predictor, images: pd.DataFrame, path: Path) -> None:
    """The images with the lowest mIoU of their own: the image, the truth, the prediction, and where they differ."""
    position = {str(store.manifest["id"][row]): row for row in store.rows("test")}
    worst = images.dropna(subset="miou").nsmallest(NUM_WORST, "miou")
    shown_rows = [(position[str(one.id)], f"{one.id}\nmIoU {one.miou:.2f}") for one in worst.itertuples()]
    _draw(store, predictor, shown_rows, path)


def draw_confused(store: Store, predictor: Predictor, worst: list[Confusion], path: Path) -> None:
    """The classes that are taken for others most, each with the image that has most such pixels; marked are only those."""
    names = [one.name for one in trained(store.classes)]
    rows = [(one.row, f"{names[one.truth]}\nas {names[one.predicted]}\n{one.share:.0%} of it") for one in worst]
    _draw(store, predictor, rows, path, only=[(one.truth, one.predicted) for one in worst])


def _draw(
    store: Store,
    predictor: Predictor,
    shown_rows: list[tuple[int, str]],
    path: Path,
    only: list[tuple[int, int]] | None = None,
) -> None:
    """A sheet of the images of rows with their names; with `only` the errors of one true and one predicted class in each."""
    sheet, names = [], []
    for number, (row, name) in enumerate(shown_rows):
        image, truth = np.array(store.image(row)), store.labelling(row)
        predicted = predictor(image)
        wrong: BoolArray
        if only is None:
            wrong = (predicted != truth) & (truth != IGNORE_INDEX)
        else:
            wrong = (truth == only[number][0]) & (predicted == only[number][1])
        small = _small(shown(image))
        labels = [_small(colored(one, store.classes), cv2.INTER_NEAREST) for one in (truth, predicted)]
        sheet.append([small, *labels, _errors(small, wrong)])
        names.append(name)
    pictures.sheet(path, sheet, titles=["image", "truth", "prediction", "errors"], names=names, classes=store.classes)


def _small(picture: UInt8Array, how: int = cv2.INTER_AREA) -> UInt8Array:
    """As it is shown in a sheet: eight times four pictures of fifty megapixels would take gigabytes."""
    shrink = max(picture.shape[:2]) / LONGEST_PX
    if shrink <= 1:
        return picture
    size = max(1, round(picture.shape[1] / shrink)), max(1, round(picture.shape[0] / shrink))
    return np.asarray(cv2.resize(picture, size, interpolation=how), picture.dtype)


def _errors(small: UInt8Array, wrong: BoolArray) -> UInt8Array:
    """The image darkened, with what is wrong in vermilion: in a picture made small, what has any of it."""
    wrong_HW = wrong.any(axis=0) if wrong.ndim == 3 else wrong
    marked = small // 3
    marked[_small(np.where(wrong_HW, np.uint8(255), np.uint8(0))) > 0] = (213, 94, 0)
    return marked
