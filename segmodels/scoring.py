"""Predicts the images of a split with a bundle: the counts that every comparison of models is made from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from segmodels import boundaries, metrics
from segmodels.counts import KINDS
from segmodels.errors import BundleError, DatasetError
from segmodels.predict import Predictor
from segmodels.samples import IGNORE_INDEX, Float32Array, ImageArray, Part, UInt8Array, trained
from segmodels.store import Store
from segmodels.watching import Progress, silent

WHICH: dict[Part, str] = {"train": "training", "val": "validation", "test": "test", "vault": "vault"}


@dataclass(frozen=True)
class Predicted:
    """An image with what was predicted of it.

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


def predictions(
    store: Store, predictor: Predictor, part: Part = "test", *, progress: Progress[int] = silent
) -> Iterator[Predicted]:
    """Every image of a part, predicted.

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
    yield from _predicted(store, predictor, part, progress)


def _predicted(store: Store, predictor: Predictor, part: Part, progress: Progress[int]) -> Iterator[Predicted]:
    ids, groups, scenes = (store.manifest[name] for name in ("id", "group", "scene"))
    rows = store.rows(part)
    for row in progress(rows, f"scoring {WHICH[part]} images", len(rows)):
        image = np.array(store.image(row))
        labelling, sure = predictor.with_confidence(image)
        if not np.isfinite(sure).all():
            raise BundleError(
                f"{predictor.bundle.folder}: the logits of {ids[row]} are no numbers on {predictor.backend.name} in "
                f"{predictor.backend.precision}; train it again, with a lower learning rate or with precision: fp32"
            )
        yield Predicted(row, str(ids[row]), str(groups[row]), str(scenes[row]), image, store.labelling(row), labelling, sure)


def score(store: Store, predictor: Predictor, part: Part = "test", *, progress: Progress[int] = silent) -> pd.DataFrame:
    """A row for every image of a part, see `counted`."""
    labels = store.labels
    found = predictions(store, predictor, part, progress=progress)
    return pd.DataFrame([counted(one, labels.num_classes, overlap=labels.overlap) for one in found])


def score_shared(store: Store, predictor: Predictor, shared: Sequence[str], part: Part = "test") -> pd.DataFrame:
    """The same of some classes alone, which dataset and bundle both know by these names.

    Pixels of another class are void; what is predicted as another is none of these.
    """
    here, there = (
        [[one.name for one in trained(classes)].index(name) for name in shared]
        for classes in (store.classes, predictor.bundle.classes)
    )
    truth_of, said_of = _numbers(here, rest=IGNORE_INDEX), _numbers(there, rest=len(shared))
    overlap, rows = store.labels.overlap, []
    for one in _predicted(store, predictor, part, silent):
        if overlap:
            same = replace(one, truth=one.truth[here], labelling=one.labelling[there])
        else:
            same = replace(one, truth=truth_of[one.truth], labelling=said_of[one.labelling])
        rows.append(counted(same, len(shared), overlap=overlap, others=not overlap))
    return pd.DataFrame(rows)


def _numbers(indices: Sequence[int], *, rest: int) -> UInt8Array:
    """By class index its position among some, or `rest`."""
    table = np.full(256, rest, np.uint8)
    table[list(indices)] = np.arange(len(indices))
    return table


def counted(one: Predicted, num_classes: int, *, overlap: bool, others: bool = False) -> dict[str, Any]:
    """What is kept of an image: id, group, scene, size, its own mIoU, and its pixels by kind and class, `<kind>_<class>`.

    Args:
        others: whether what is `num_classes` in the labelling is none of the classes, and counts for none.
    """
    among = num_classes + others
    inside = metrics.counts(one.labelling, one.truth, among, overlap=overlap)[:, :num_classes]
    near = boundaries.counts(one.labelling, one.truth, among, overlap=overlap)[:, :num_classes]
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
