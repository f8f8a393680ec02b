"""Predicts the test images with a bundle: the counts that every comparison of models is made from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from segmodels import boundaries, metrics
from segmodels.counts import KINDS
from segmodels.errors import BundleError, DatasetError
from segmodels.predict import Predictor
from segmodels.samples import Float32Array, ImageArray, UInt8Array, trained
from segmodels.store import Store
from segmodels.watching import Progress, silent


@dataclass(frozen=True)
class Predicted:
    """A test image with what was predicted of it.

    Attributes:
        truth, labelling: see labels.py; `confidence` is how probable each label of the labelling is.
    """

    row: int
    id: str
    group: str
    scene: str
    image: ImageArray
    truth: UInt8Array
    labelling: UInt8Array
    confidence: Float32Array


def predictions(store: Store, predictor: Predictor, *, progress: Progress[int] = silent) -> Iterator[Predicted]:
    """Every test image, predicted.

    Raises:
        DatasetError: the bundle was trained on other classes than the dataset has.
        BundleError: its network's logits are no numbers.
    """
    names, own = [c.name for c in trained(store.classes)], [c.name for c in trained(predictor.bundle.classes)]
    if names != own:
        raise DatasetError(f"the bundle predicts {own}, the dataset has {names}; train a candidate on this dataset")
    if (predictor.bundle.facts.task == "multilabel") != store.labels.overlap:
        raise DatasetError(
            f"the bundle's task is {predictor.bundle.facts.task}, the dataset's {store.labels.task}; train a candidate on this dataset"
        )
    ids, groups, scenes = (store.manifest[name] for name in ("id", "group", "scene"))
    test = store.rows("test")
    for row in progress(test, "scoring test images", len(test)):
        image = np.array(store.image(row))
        labelling, sure = predictor.with_confidence(image)
        if not np.isfinite(sure).all():
            raise BundleError(
                f"{predictor.bundle.folder}: the logits of {ids[row]} are no numbers on {predictor.backend.name} in "
                f"{predictor.backend.precision}; train it again, with a lower learning rate or with precision: fp32"
            )
        yield Predicted(row, str(ids[row]), str(groups[row]), str(scenes[row]), image, store.labelling(row), labelling, sure)


def score(store: Store, predictor: Predictor, *, progress: Progress[int] = silent) -> pd.DataFrame:
    """A row for every test image, see `counted`."""
    labels = store.labels
    found = predictions(store, predictor, progress=progress)
    return pd.DataFrame([counted(one, labels.num_classes, overlap=labels.overlap) for one in found])


def counted(one: Predicted, num_classes: int, *, overlap: bool) -> dict[str, Any]:
    """What is kept of an image: id, group, scene, size, its own mIoU, and its pixels by kind and class, `<kind>_<class>`."""
    inside = metrics.counts(one.labelling, one.truth, num_classes, overlap=overlap)
    near = boundaries.counts(one.labelling, one.truth, num_classes, overlap=overlap)
    by_kind = dict(zip(KINDS, [*inside, *near], strict=True))
    return {
        "id": one.id,
        "group": one.group,
        "scene": one.scene,
        "height": one.image.shape[0],
        "width": one.image.shape[1],
        "miou": metrics.scores(*inside).miou,
        **{f"{kind}_{k}": int(by_kind[kind][k]) for kind in KINDS for k in range(num_classes)},
    }


def disagreements(
    store: Store, predictors: Sequence[Predictor], reference: Predictor, *, progress: Progress[int] = silent
) -> list[float]:
    """The shares of the test images' pixels that some predictors label otherwise than a reference; where classes overlap, in any of them."""
    differing, total = [0] * len(predictors), 0
    test = store.rows("test")
    for row in progress(test, f"comparing {reference.backend.name} with what may serve", len(test)):
        image = np.array(store.image(row))
        expected = reference(image)
        for number, one in enumerate(predictors):
            apart = one(image) != expected
            differing[number] += int((apart.any(axis=0) if apart.ndim == 3 else apart).sum())
        total += image.shape[0] * image.shape[1]
    return [count / total for count in differing]
