"""What would be read from a dataset, and what is wrong with it; nothing is brought in. Decodes what it has not seen before: seconds for a thousand."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from segmodels import leaks, suspects
from segmodels.dataset import Dataset, within
from segmodels.errors import DatasetError
from segmodels.examination import examine
from segmodels.leaks import Leak, Placed
from segmodels.ledger import Ledger
from segmodels.pairs import Facts
from segmodels.problems import Problem
from segmodels.samples import Sample, trained
from segmodels.suspects import Labelled, Suspect
from segmodels.watching import Progress, silent


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
        suspects: labels that may be wrong.
        unread: the pictures in its folder that nothing was made of.
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
    suspects: list[Suspect] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def inspect(dataset: Dataset, ledger: Ledger, *, progress: Progress[tuple[Sample, Facts | str]] = silent) -> Inspection:
    """Decode every image and its annotation, as an import would."""
    learned = trained(dataset.classes)
    sizes, splits, groups = Counter[str](), Counter[str](), set[str | None]()
    pixels, seen = np.zeros(len(learned), np.int64), np.zeros(len(learned), np.int64)
    total = void = num_images = 0
    objects, labelled = list[int | None](), list[Labelled]()
    placed, problems = list[Placed](), list[str]()
    try:
        for sample, facts in examine(dataset, ledger, ledger.digests(dataset.files), progress=progress):
            pixels += facts.pixels
            seen += np.array(facts.pixels) > 0
            num_images += 1
            total += facts.height * facts.width
            void += facts.pixels_void
            sizes[f"{facts.width} x {facts.height}"] += 1
            splits[sample.split or "none"] += 1
            groups.add(sample.group)
            objects.append(facts.objects)
            labelled.append(facts.labelled(sample.id))
            if sample.split is not None:
                placed.append(Placed(sample.id, sample.split, sample.group, facts.fingerprint))
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
        num_objects=None if set(objects) <= {None} else sum(one or 0 for one in objects),
        leaks=leaks.find(placed),
        suspects=suspects.find(labelled),
        problems=[Problem.of(within(dataset.root, one)) for one in problems],
        unread=[str(path.relative_to(dataset.root)) for path in dataset.unread()],
    )
