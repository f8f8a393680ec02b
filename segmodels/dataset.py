"""A dataset as it lies on disk: which format it has, its classes, its samples, and whether every pair is sound."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from segmodels import catalog
from segmodels.errors import DatasetError, ParamsError
from segmodels.images import read_image, read_layer, read_mask
from segmodels.samples import MAX_CLASSES, Sample, SegmentationClass, Task, UInt8Array, trained

NOTED = "segmodels.json"
"""Written to a dataset as it is brought in: the format it was read in, which its files alone may not tell."""

T = TypeVar("T")
Progress = Callable[[Sequence[T], str], Iterable[T]]
"""Passes a sequence through while showing how far it has come; the second argument says what is being done."""


def silent(items: Sequence[T], _: str) -> Iterable[T]:
    """The Progress that shows nothing."""
    return items


@dataclass(frozen=True)
class Dataset:
    """A dataset listed but not decoded."""

    root: Path
    format: str
    task: Task
    classes: list[SegmentationClass]
    samples: list[Sample]


def open_dataset(
    root: Path,
    *,
    format: str = "auto",
    task: Task | Literal["auto"] = "auto",
    classes: list[SegmentationClass] | None = None,
) -> Dataset:
    """List a dataset. `classes`, where given, stand in place of the dataset's own.

    Args:
        task: `auto` is `multilabel` where the format has a mask for every class, else `multiclass`.

    Raises:
        DatasetError: no such folder, no format fits, nothing in it, nobody names the classes, or the task is not theirs.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: folder is missing; bring a dataset in with `make data SOURCE=<folder> FORMAT=<name>`")
    name = detect(root) if format == "auto" else format
    module = catalog.load("formats", name)
    samples = list(module.read(root))
    if not samples:
        raise DatasetError(f"{root}: the dataset is empty: the format `{name}` found no image in it")
    found = classes or module.classes(root)
    if not found:
        raise DatasetError(
            f"{root}: nothing names the classes; write classes.json into it or list them under `classes:` in params.yaml"
        )
    if not 1 <= len(trained(found)) <= MAX_CLASSES:
        raise DatasetError(f"{root}: has {len(trained(found))} classes that are not ignored; expected 1 to {MAX_CLASSES}")
    unknown = sorted(
        {one for sample in samples if not isinstance(sample.mask, Path) for one in sample.mask} - {c.name for c in found}
    )
    if unknown:
        raise DatasetError(
            f"{root}: there are masks of {', '.join(unknown)}, but the classes are {', '.join(c.name for c in found)}; "
            f"add them to the classes, with `ignore: true` if they are not to be learned"
        )
    return Dataset(root, name, _task(root, task, found, samples), found, samples)


def _task(root: Path, asked: Task | Literal["auto"], classes: list[SegmentationClass], samples: list[Sample]) -> Task:
    overlap = not isinstance(samples[0].mask, Path)
    task: Task = ("multilabel" if overlap else "multiclass") if asked == "auto" else asked
    if overlap != (task == "multilabel"):
        has = "a mask for every class, which may overlap" if overlap else "one mask an image, with one class a pixel"
        fitting = "multilabel" if overlap else "multiclass or binary"
        raise DatasetError(f"{root}: dataset.task is {task!r}, but the dataset has {has}; set it to {fitting}")
    if not overlap and len(trained(classes)) == 1:
        only = trained(classes)[0].name
        raise DatasetError(
            f"{root}: {only} is the only class: there is nothing to tell it from; list what else the masks hold, such as the background"
        )
    if task == "binary" and len(trained(classes)) != 2:
        names = ", ".join(c.name for c in trained(classes))
        raise DatasetError(
            f"{root}: dataset.task is 'binary', but there are {len(trained(classes))} classes ({names}); expected 2"
        )
    return task


def detect(root: Path) -> str:
    """The format that the dataset was brought in as; else the one format that recognises the folder."""
    if (root / NOTED).is_file():
        return _noted(root / NOTED)
    fitting = [name for name in catalog.names("formats") if catalog.load("formats", name).detect(root)]
    if len(fitting) != 1:
        found = f"{', '.join(fitting)} all fit" if fitting else f"none of {', '.join(catalog.names('formats'))} fits"
        raise DatasetError(f"{root}: cannot tell its format: {found}; name it with FORMAT=<name> or `dataset.format`")
    return fitting[0]


def _noted(path: Path) -> str:
    try:
        name = str(json.loads(path.read_text(encoding="utf-8"))["format"])
        catalog.check("formats", name)
    except (ValueError, LookupError, TypeError, ParamsError) as error:
        raise DatasetError(f"{path}: does not name a format ({error}); remove it, and the files will tell") from error
    return name


def load_pair(sample: Sample, classes: Sequence[SegmentationClass]) -> tuple[UInt8Array, UInt8Array]:
    """Decode one image, H x W x 3, and its labelling: H x W of class indices or, where classes overlap, C x H x W (see labels.py).

    Raises:
        DatasetError: a file is unreadable, the sizes differ, or a mask holds what no class has.
    """
    image = read_image(sample.image_path)
    if isinstance(sample.mask, Path):
        return image, _of_size(image, read_mask(sample.mask, classes), sample.mask)
    names = [one.name for one in trained(classes)]
    labelling_CHW = np.zeros((len(names), *image.shape[:2]), np.uint8)
    for name, path in sample.mask.items():
        layer_HW = _of_size(image, read_layer(path), path)
        if name in names:  # the others are ignored
            labelling_CHW[names.index(name)] = layer_HW
    return image, labelling_CHW


def _of_size(image: UInt8Array, mask: UInt8Array, path: Path) -> UInt8Array:
    if image.shape[:2] != mask.shape:
        raise DatasetError(f"{path}: mask is {_size(mask)}, its image {_size(image)}; re-export the mask at the image's size")
    return mask


def check_pairs(dataset: Dataset, progress: Progress[Sample] = silent) -> Iterator[tuple[Sample, UInt8Array, UInt8Array]]:
    """Decode every pair and pass the sound ones on, as `load_pair` has them; at the end raise one error that lists all the others."""
    problems = []
    for sample in progress(dataset.samples, "checking images and masks"):
        try:
            image, mask = load_pair(sample, dataset.classes)
        except DatasetError as error:
            problems.append(str(error))
            continue
        yield sample, image, mask
    if problems:
        total = len(dataset.samples)
        raise DatasetError(f"{dataset.root}: {len(problems)} of {total} pairs are unusable, nothing was written", problems)


def _size(array: UInt8Array) -> str:
    return f"{array.shape[1]} x {array.shape[0]} (width x height)"
