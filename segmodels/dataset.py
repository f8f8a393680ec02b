"""A dataset as it lies on disk: which format it has, its classes, its samples, and whether every pair is sound."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from segmodels import catalog
from segmodels.errors import DatasetError
from segmodels.images import read_image, read_mask
from segmodels.samples import IGNORE_INDEX, MAX_CLASSES, Sample, SegmentationClass, UInt8Array, trained

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
    classes: list[SegmentationClass]
    samples: list[Sample]


def open_dataset(root: Path, *, format: str = "auto", classes: list[SegmentationClass] | None = None) -> Dataset:
    """List a dataset. `classes`, where given, stand in place of the dataset's own.

    Raises:
        DatasetError: no such folder, no format fits, nothing in it, or nobody names the classes.
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
    if not trained(found) or len(trained(found)) > MAX_CLASSES or any(c.value == IGNORE_INDEX and not c.ignore for c in found):
        raise DatasetError(f"{root}: expected 1 to {MAX_CLASSES} classes with ids other than {IGNORE_INDEX}, which is void")
    return Dataset(root, name, found, samples)


def detect(root: Path) -> str:
    """The one format that recognises the folder."""
    fitting = [name for name in catalog.names("formats") if catalog.load("formats", name).detect(root)]
    if len(fitting) != 1:
        found = f"{', '.join(fitting)} all fit" if fitting else f"none of {', '.join(catalog.names('formats'))} fits"
        raise DatasetError(f"{root}: cannot tell its format: {found}; name it with FORMAT=<name> or `dataset.format`")
    return fitting[0]


def load_pair(sample: Sample, classes: Sequence[SegmentationClass]) -> tuple[UInt8Array, UInt8Array]:
    """Decode one image, H x W x 3, and its mask, H x W of class indices.

    Raises:
        DatasetError: a file is unreadable, the sizes differ, or the mask holds what no class has.
    """
    image, mask = read_image(sample.image_path), read_mask(sample.mask_path, classes)
    if image.shape[:2] != mask.shape:
        raise DatasetError(
            f"{sample.mask_path}: mask is {_size(mask)}, its image {_size(image)}; re-export the mask at the image's size"
        )
    return image, mask


def check_pairs(dataset: Dataset, progress: Progress[Sample] = silent) -> Iterator[tuple[Sample, UInt8Array, UInt8Array]]:
    """Decode every pair and pass the sound ones on; at the end raise one error that lists all the others."""
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
