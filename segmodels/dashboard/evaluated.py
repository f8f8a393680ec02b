"""What the last comparison left of its candidates: scores, counts and labellings of every test image, and how two candidates differ in them."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import networkx
import numpy as np
import pandas as pd

from segmodels import gate, labellings, significance
from segmodels.confusions import CELLS
from segmodels.counts import INSIDE, counts_of, read_counts, read_scores
from segmodels.errors import DatasetError, InputError
from segmodels.gate import Change, Scored
from segmodels.images import shown
from segmodels.samples import Part, UInt8Array, trained
from segmodels.store import Store

SEEN: tuple[Part, ...] = ("test", "val", "train")
"""Splits whose images are shown; of the vault nobody is to know anything."""
RESAMPLES = 2000
"""Draws of an interval that somebody waits for."""
KEPT = 8
"""Tables of counts that are kept: of many candidates and images they would fill the memory."""


class Evaluated:
    """The candidates of one comparison, on the test images that all were scored on.

    Attributes:
        names: of the candidates that were ranked, the best first.
        class_names: in the order of the classes' indices.
        version: another one where any image, label or prediction may be another.

    Raises:
        InputError: nothing was compared yet, or what was compared is not of the dataset that is prepared.
    """

    def __init__(self, prepared: Path, evaluated: Path, reports: Path) -> None:
        ranking = reports / "leaderboard.json"
        if not ranking.is_file():
            raise InputError("no candidate was compared yet; run `make retrain`, or `make demo` for a first look")
        self.folder, self.reports = evaluated, reports
        self.leaderboard: dict[str, Any] = json.loads(ranking.read_text(encoding="utf-8"))
        try:
            self.store = Store(prepared)
        except DatasetError as error:
            raise InputError(str(error)) from error
        if self.store.sha256 != self.leaderboard.get("dataset_sha256"):
            raise InputError("the last comparison was on another dataset than is prepared now; `make retrain` compares anew")
        self.names = [one["name"] for one in self.leaderboard["candidates"]]
        self.class_names = [one.name for one in trained(self.store.classes)]
        self.overlap = self.store.labels.overlap
        said = [f"{one['bundle_sha256']} {one['backend']} {one['precision']}" for one in self.leaderboard["candidates"]]
        self.version = hashlib.sha256("\n".join([self.store.sha256, *said]).encode()).hexdigest()[:16]
        self._tables: dict[str, pd.DataFrame] = {}
        self._lock = Lock()

    def entry(self, name: str) -> dict[str, Any]:
        """A candidate's in the leaderboard.

        Raises:
            InputError: there is none of this name.
        """
        for one in self.leaderboard["candidates"]:
            if one["name"] == name:
                return dict(one)
        raise InputError(f"{name!r} is none of the candidates that were compared: {', '.join(self.names)}")

    def scores(self, name: str) -> dict[str, Any]:
        return read_scores(self.folder / self.entry(name)["name"])

    def training(self, name: str) -> dict[str, Any]:
        """How a candidate was trained: `params`, `epochs`, `seconds`."""
        log = self.reports / self.entry(name)["name"] / "training.json"
        found: dict[str, Any] = json.loads(log.read_text(encoding="utf-8"))
        return found

    def images(self, name: str) -> pd.DataFrame:
        """The counts of every test image, as `evaluate` wrote them, and its `row` in the manifest."""
        with self._lock:
            found = self._tables.get(name)
            if found is None:
                table = read_counts(self.folder / self.entry(name)["name"])
                while len(self._tables) >= KEPT:
                    self._tables.pop(next(iter(self._tables)))
                found = self._tables[name] = table.assign(row=[self._rows[one] for one in table["id"]])
            return found

    @cached_property
    def _rows(self) -> dict[str, int]:
        ids = self.store.manifest["id"]
        return {str(ids.iloc[row]): row for row in self.store.rows("test")}

    @cached_property
    def _tested(self) -> set[int]:
        return set(self._rows.values())

    @cached_property
    def _seen(self) -> set[int]:
        return {row for split in SEEN for row in self.store.rows(split)}

    def images_of(self, split: Part) -> pd.DataFrame:
        """`row` and `id` of every image of a split of SEEN, in the order of the ids."""
        assert split in SEEN, split
        ids = self.store.manifest["id"]
        return pd.DataFrame(sorted((str(ids.iloc[row]), row) for row in self.store.rows(split)), columns=["id", "row"])

    def size(self, row: int) -> tuple[int, int]:
        """Height and width of an image.

        Raises:
            InputError: there is none at this row that is shown.
        """
        if row not in self._seen:
            raise InputError(f"image {row}: is none of the images that are shown")
        manifest = self.store.manifest
        return int(manifest["height"].iloc[row]), int(manifest["width"].iloc[row])

    def picture(self, row: int) -> UInt8Array:
        """An image as people look at it, H x W x 3."""
        self.size(row)
        return shown(self.store.image(row))

    def truth(self, row: int) -> UInt8Array:
        """What it is labelled as, see `Store.labelling`."""
        self.size(row)
        return self.store.labelling(row)

    def labelling(self, name: str, row: int) -> UInt8Array:
        """What a candidate predicted of a test image.

        Raises:
            InputError: there is no such candidate, or no such test image.
        """
        if row not in self._tested:
            raise InputError(f"image {row}: is none of the test images")
        layers = len(self.class_names) if self.overlap else None
        return labellings.read(self.folder / self.entry(name)["name"] / labellings.NAME, row, layers=layers)

    def worst(self, name: str) -> pd.DataFrame:
        """The test images, those that a candidate is worst at first: `row`, `id`, `scene`, `miou`, how many pixels are wrong, and the class most are of.

        Where classes overlap a pixel is wrong once for each class that it is wrong about.
        """
        table = self.images(name)
        right, true, predicted = (counts_of(table, kind, len(self.class_names)) for kind in INSIDE)
        missed, invented = true - right, predicted - right
        wrong = missed + invented
        names = [
            self.class_names[k] if any_wrong else "none"
            for k, any_wrong in zip(wrong.argmax(axis=1), wrong.sum(axis=1), strict=True)
        ]
        count = (wrong if self.overlap else missed).sum(axis=1)  # what is missed of one class is invented of another
        found = table[["row", "id", "scene", "miou"]].assign(wrong_pixels=count, most_wrong=names)
        return found.dropna(subset="miou").sort_values(["miou", "id"], ignore_index=True)

    def confused(self, name: str) -> pd.DataFrame:
        """The pairs of classes of which one is taken for the other, most pixels first; empty where classes overlap."""
        cells = self.cells(name)
        total = cells.groupby(["truth", "predicted"])["num_pixels"].agg(["sum", "count"]).reset_index()
        true = counts_of(self.images(name), "truth", len(self.class_names)).sum(axis=0)
        return (
            pd.DataFrame(
                {
                    "truth": [self.class_names[k] for k in total["truth"]],
                    "predicted": [self.class_names[k] for k in total["predicted"]],
                    "num_pixels": total["sum"],
                    "share": total["sum"] / true[total["truth"]],
                    "num_images": total["count"],
                }
            )
            .sort_values("num_pixels", ascending=False, ignore_index=True)
            .astype({"share": float})
        )

    def cells(self, name: str) -> pd.DataFrame:
        """What was taken for what in each image: `row`, `truth`, `predicted` (class indices), `num_pixels`."""
        table = self.folder / self.entry(name)["name"] / CELLS
        if not table.is_file():
            raise InputError(f"{name} was evaluated before it was noted what is taken for what; run `make retrain`")
        found: pd.DataFrame = pd.read_parquet(table)
        return found

    def showing(self, name: str, truth: int, predicted: int) -> pd.DataFrame:
        """The images in which a class was taken for another, most pixels first: `row`, `id`, `num_pixels`."""
        cells = self.cells(name)
        found = cells[(cells["truth"] == truth) & (cells["predicted"] == predicted)]
        ids = self.store.manifest["id"]
        return (
            found[["row", "num_pixels"]]
            .assign(id=[str(ids.iloc[row]) for row in found["row"]])
            .sort_values(["num_pixels", "row"], ascending=[False, True], ignore_index=True)
        )

    def flips(self, one: str, other: str) -> pd.DataFrame:
        """How two candidates differ in each test image, the largest difference first: `row`, `id`, `scene`, `one`, `other`, `difference`.

        An image that shows nothing, and of which a candidate says so, it has right.
        """
        first, second = self.images(one), self.images(other)
        mious = [table["miou"].to_numpy(np.float64) for table in (first, second)]
        nothing = np.isnan(mious[0]) & np.isnan(mious[1])
        right = [np.nan_to_num(miou, nan=1.0) for miou in mious]
        found = first[["row", "id", "scene"]].assign(one=right[0], other=right[1], difference=right[0] - right[1])[~nothing]
        order = np.lexsort([found["id"], -found["difference"].abs().round(12)])
        ordered: pd.DataFrame = found.iloc[order].reset_index(drop=True)
        return ordered

    def changes(self, one: str, other: str) -> tuple[Change, list[Change]]:
        """What the first candidate gains over the second in mIoU, and in the IoU of each class, with paired 95 % intervals."""
        scored = [Scored.of(name, self.images(name), len(self.class_names)) for name in (one, other)]
        units = significance.units_of(self.images(one)["scene"].tolist())
        return gate.changes(scored[0], scored[1], self.class_names, units, seed=0, resamples=RESAMPLES)


def groups(names: Sequence[str], differences: Sequence[dict[str, Any]], level: float = significance.LEVEL) -> list[list[str]]:
    """Candidates of whom no more than chance tells any two apart: every largest such set, in the order of `names`; others are left out.

    Who was not compared is not said to be the same: of many candidates only the best are compared with each other.
    """
    same: networkx.Graph[str] = networkx.Graph()
    same.add_nodes_from(names)
    same.add_edges_from(
        (one["first"], one["second"])
        for one in differences
        if one["p"] is not None and one["p"] >= level and one["first"] in same and one["second"] in same
    )
    place = {name: number for number, name in enumerate(names)}
    found = [sorted(clique, key=place.__getitem__) for clique in networkx.find_cliques(same) if len(clique) > 1]
    return sorted(found, key=lambda group: [place[name] for name in group])
