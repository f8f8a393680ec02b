"""What a prepared dataset holds, counted: for people to look at, and to compare two versions by."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from segmodels.annotations import is_background
from segmodels.class_balance import class_weights
from segmodels.samples import PARTS, SPLITS, Color, trained
from segmodels.store import Store


@dataclass(frozen=True)
class ClassCount:
    """One class. `share` is of the pixels whose class is known, by split, None where none is; `num_images` that show it, by split."""

    name: str
    color: Color
    share: dict[str, float | None]
    num_images: dict[str, int]


@dataclass(frozen=True)
class Census:
    """A dataset in figures.

    Attributes:
        empty: images in which nothing but background or void is, by split; None where there is no background.
        void: the share of all pixels, by split; None where classes overlap.
        sizes: how many images there are of each height and width, most first.
        mean, std: of the training images' channels, RGB, 0 to 255.
        weights: what median frequency balancing makes of the training masks, by output of the network.
    """

    task: str
    sha256: str
    num_images: dict[str, int]
    num_groups: dict[str, int]
    classes: list[ClassCount]
    empty: dict[str, int] | None
    void: dict[str, float | None] | None
    sizes: list[tuple[int, int, int]]
    mean: list[float]
    std: list[float]
    weights: list[float]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def count(store: Store) -> Census:
    """From the manifest: no pixel is read, but for weights where classes overlap."""
    classes = trained(store.classes)
    there = {part: store.manifest[store.manifest["split"] == part] for part in PARTS}
    by_split = {part: rows for part, rows in there.items() if part in SPLITS or len(rows)}
    overlap = store.labels.overlap
    sizes = Counter(zip(store.manifest["height"].tolist(), store.manifest["width"].tolist(), strict=True))
    shown = [index for index, one in enumerate(classes) if not is_background(one.name)]
    return Census(
        task=store.labels.task,
        sha256=store.sha256,
        num_images={split: len(rows) for split, rows in by_split.items()},
        num_groups={split: int(rows["group"].nunique()) for split, rows in by_split.items()},
        classes=[
            ClassCount(
                one.name,
                one.color,
                {split: _share(rows, f"pixels_{index}", known=True) for split, rows in by_split.items()},
                {split: int((rows[f"pixels_{index}"] > 0).sum()) for split, rows in by_split.items()},
            )
            for index, one in enumerate(classes)
        ],
        empty=None
        if len(shown) == len(classes) and not overlap
        else {
            split: int((rows[[f"pixels_{index}" for index in shown]].sum(axis=1) == 0).sum()) for split, rows in by_split.items()
        },
        void=None if overlap else {split: _share(rows, "pixels_void", known=False) for split, rows in by_split.items()},
        sizes=[(height, width, number) for (height, width), number in sizes.most_common()],
        mean=store.mean,
        std=store.std,
        weights=class_weights(store),
    )


def _share(rows: pd.DataFrame, column: str, *, known: bool) -> float | None:
    """Of all pixels, or of those whose class is known."""
    pixels = int((rows["height"] * rows["width"]).sum()) - (int(rows["pixels_void"].sum()) if known else 0)
    return int(rows[column].sum()) / pixels if pixels else None
