"""What changed between two versions of a prepared dataset: images, labels, splits, and how much there is of each class."""

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class ClassMove:
    """A class's share of the known pixels before and after; None where it was not there, or nothing is known."""

    name: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Difference:
    """Images are recognised by their pixels, so that one that was renamed is not another.

    Attributes:
        relabelled: the same image with another mask.
        renamed: from the id before to the one after.
        moved: images by `split -> split`.
        left_test: images of the test set before that are there no more, or in another split: scores are not comparable.
        classes: of all splits together, those of both versions.
    """

    added: list[str]
    removed: list[str]
    relabelled: list[str]
    renamed: dict[str, str]
    moved: dict[str, int]
    left_test: list[str]
    classes: list[ClassMove]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.relabelled or self.renamed or self.moved)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(before: pd.DataFrame, after: pd.DataFrame, class_names: tuple[list[str], list[str]]) -> Difference:
    """Compare the manifests of two stores (see store.py) with the names of their classes."""
    pairs = _matched(before, after)
    old, new = before.loc[[one for one, _ in pairs]], after.loc[[other for _, other in pairs]]
    same_labels = old["sha256"].to_numpy() == new["sha256"].to_numpy()
    names = list(zip(old["id"], new["id"], strict=True))
    moves = [f"{one} -> {other}" for one, other in zip(old["split"], new["split"], strict=True) if one != other]
    stayed = set(old.loc[(new["split"] == "test").to_numpy(), "id"])
    test = before.loc[before["split"] == "test", "id"]
    return Difference(
        added=sorted(set(after["id"]) - {other for _, other in names}),
        removed=sorted(set(before["id"]) - {one for one, _ in names}),
        relabelled=sorted(other for (_, other), same in zip(names, same_labels, strict=True) if not same),
        renamed={one: other for one, other in names if one != other},
        moved={move: moves.count(move) for move in sorted(set(moves))},
        left_test=sorted(set(test) - stayed),
        classes=_moves(before, after, class_names),
    )


def _matched(before: pd.DataFrame, after: pd.DataFrame) -> list[tuple[Any, Any]]:
    """Rows of the same image, by index; of several copies those of the same name first."""
    left: dict[str, dict[str, Any]] = {}
    for index, pixels, name in zip(after.index, after["image_sha256"], after["id"], strict=True):
        left.setdefault(pixels, {})[name] = index
    pairs, others = [], []
    for index, pixels, name in zip(before.index, before["image_sha256"], before["id"], strict=True):
        if name in left.get(pixels, {}):
            pairs.append((index, left[pixels].pop(name)))
        else:
            others.append((index, pixels))
    for index, pixels in others:
        if left.get(pixels):
            pairs.append((index, left[pixels].pop(min(left[pixels]))))
    return pairs


def _moves(before: pd.DataFrame, after: pd.DataFrame, class_names: tuple[list[str], list[str]]) -> list[ClassMove]:
    found = [shares(table, names) for table, names in zip((before, after), class_names, strict=True)]
    every = list(dict.fromkeys([*class_names[0], *class_names[1]]))
    return [ClassMove(name, found[0].get(name), found[1].get(name)) for name in every]


def shares(table: pd.DataFrame, names: list[str]) -> dict[str, float | None]:
    """Of the pixels whose class is known those of each class, in a manifest; None where nothing is known."""
    known = int((table["height"] * table["width"] - table["pixels_void"]).sum())
    return {name: int(table[f"pixels_{index}"].sum()) / known if known else None for index, name in enumerate(names)}
