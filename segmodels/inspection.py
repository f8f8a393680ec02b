"""What would be read from a dataset, and what is wrong with it; nothing is brought in. Decodes every image: seconds for a thousand."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from segmodels import leaks
from segmodels.dataset import Dataset, Progress, check_pairs, silent, within
from segmodels.duplicates import Fingerprint
from segmodels.errors import DatasetError
from segmodels.leaks import Leak, Placed
from segmodels.problems import Problem
from segmodels.samples import IGNORE_INDEX, Sample, trained


@dataclass(frozen=True)
class ClassFacts:
    """One class and where it was seen. `share` is that of all pixels whose class is known; None if there are none."""

    name: str
    value: int
    color: tuple[int, int, int]
    ignore: bool
    num_images: int = 0
    share: float | None = None


@dataclass(frozen=True)
class Inspection:
    """What a dataset comes to.

    Attributes:
        told_by: what shows that it has this format.
        splits: images by split; "none" where the dataset gives none.
        num_groups: None where it knows none.
        sizes: images by `width x height`, the most common first.
        void: the share of all pixels that nobody knows the class of; None where classes overlap.
        num_objects: None where nobody told objects apart.
        leaks: what the dataset's own splits have on two sides.
    """

    format: str
    told_by: str
    task: str
    num_images: int
    splits: dict[str, int]
    num_groups: int | None
    sizes: dict[str, int]
    classes: list[ClassFacts]
    void: float | None
    num_objects: int | None
    leaks: list[Leak] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def inspect(dataset: Dataset, *, progress: Progress[Sample] = silent) -> Inspection:
    """Decode every image and its annotation, as an import would."""
    learned = trained(dataset.classes)
    sizes, splits, groups = Counter[str](), Counter[str](), set[str | None]()
    pixels, seen = np.zeros(len(learned), np.int64), np.zeros(len(learned), np.int64)
    total = void = num_images = 0
    num_objects: int | None = None
    placed, problems = list[Placed](), list[str]()
    try:
        for sample, image, labelling in check_pairs(dataset, progress):
            height, width = image.shape[:2]
            counts = _pixels(labelling, len(learned))
            pixels += counts
            seen += counts > 0
            num_images += 1
            total += height * width
            void += int((labelling == IGNORE_INDEX).sum()) if labelling.ndim == 2 else 0
            sizes[f"{width} x {height}"] += 1
            splits[sample.split or "none"] += 1
            groups.add(sample.group)
            if sample.split is not None:
                placed.append(Placed(sample.id, sample.split, sample.group, Fingerprint.of(image)))
            objects = sample.instances((height, width))
            if objects is not None:
                num_objects = (num_objects or 0) + len(np.unique(objects[objects > 0]))
    except DatasetError as error:
        problems = error.problems
    known = total if dataset.task == "multilabel" else total - void
    figures = {
        one.name: {"num_images": int(seen[index]), "share": float(pixels[index] / known) if known else None}
        for index, one in enumerate(learned)
    }
    return Inspection(
        format=dataset.format,
        told_by=dataset.told_by,
        task=dataset.task,
        num_images=num_images,
        splits=dict(splits),
        num_groups=len(groups) if groups - {None} else None,
        sizes=dict(sizes.most_common()),
        classes=[ClassFacts(one.name, one.value, one.color, one.ignore, **figures.get(one.name, {})) for one in dataset.classes],  # type: ignore[arg-type]
        void=void / total if total and dataset.task != "multilabel" else None,
        num_objects=num_objects,
        leaks=leaks.find(placed),
        problems=[Problem.of(within(dataset.root, one)) for one in problems],
    )


def _pixels(labelling: np.ndarray, num_classes: int) -> np.ndarray:
    if labelling.ndim == 2:
        return np.bincount(labelling.reshape(-1), minlength=256)[:num_classes]
    found: np.ndarray = (labelling == 1).sum(axis=(1, 2))
    return found
