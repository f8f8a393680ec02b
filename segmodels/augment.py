"""Stage `augment`: compile one augmentation recipe against the data: check it on real samples, save it replayable, preview it."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segmodels import atomic, catalog, fingerprint, variants, workers
from segmodels.errors import DatasetError
from segmodels.images import colored, overlay, shown
from segmodels.pictures import sheet
from segmodels.recipes import Recipe, draw_seed
from segmodels.samples import IGNORE_INDEX, ImageArray, UInt8Array, trained
from segmodels.store import Store
from segmodels.watching import Progress, silent

NUM_CHECKED = 32
NUM_PREVIEWED = 6
DRAWS_PREVIEWED = 4
NUM_DRAWN = 200
SECONDS_A_DRAW = 5.0
LESS = 0.7
"""A class of which less than this share of its pixels is left is told."""


def augment(
    prepared: Path,
    destination: Path,
    *,
    recipe: str,
    options: dict[str, Any],
    size_px: tuple[int, int] | None,
    seed: int,
    copies: int = 0,
    processes: int | None = None,
    progress: Progress[object] = silent,
    notice: Callable[[str], None] = lambda _: None,
) -> None:
    """Write `recipe.json`, `preview.png` and `shares.json` to `destination`, whole or not at all.

    Args:
        copies: how often every training image is drawn beforehand, see variants.py; with 0 images are drawn as they are wanted.
        processes: how many draw at once; as many as there are cores if None.
        size_px: without it the images decide.
        notice: told how fast it draws, which classes it shows less of, and how much it makes void.

    Raises:
        ParamsError: no such recipe, or it refuses its options.
        DatasetError: on the training images it invents labels or moves image and mask apart.
    """
    store = Store(prepared)
    size_px = size_px or fingerprint.size_px(store)
    compiled = Recipe(catalog.build("augmentations", recipe, size_px, options=options), size_px, store.kind)
    rows = spread(store.rows("train"), NUM_CHECKED)
    for row in rows:
        check(compiled, store.image(row), store.mask(row), name=str(store.manifest["id"][row]), seed=draw_seed(seed, 0, row))
    with atomic.folder(destination) as partial:
        noted = {"copies": copies, "dataset_sha256": store.sha256} if copies else {"copies": 0}
        compiled.save(partial / "recipe.json", **noted)
        preview(store, compiled, partial / "preview.png", seed=seed)
        found = shares(store, compiled, seed=seed)
        atomic.write_json(partial / "shares.json", asdict(found))
        if copies:
            _draw_copies(prepared, partial, copies=copies, seed=seed, processes=processes, progress=progress)
            size = sum(path.stat().st_size for path in partial.glob("*.bin"))
            notice(f"drew {len(store.rows('train'))} training images {copies} times: {size / 1e6:.0f} MB")
    began = time.perf_counter()
    for row in rows:
        compiled(store.image(row), store.mask(row), seed=draw_seed(seed, 0, row))
    notice(f"draws {len(rows) / (time.perf_counter() - began):.0f} images a second on one core; {found}")


@dataclass(frozen=True)
class Shares:
    """How much of the training images is of each class, and how much of what is drawn from them.

    Attributes:
        before, after: by class, of the pixels whose class is known; None where none is.
        void_before, void_after: of all pixels; None where classes overlap.
    """

    before: dict[str, float | None]
    after: dict[str, float | None]
    void_before: float | None
    void_after: float | None
    num_drawn: int

    def __str__(self) -> str:
        lost = {
            name: (before, after)
            for name, before in self.before.items()
            if before and (after := self.after[name]) is not None and after < LESS * before
        }
        told = [f"{name} {before:.2%} -> {after:.2%}" for name, (before, after) in lost.items()]
        of_classes = f"shows less of {', '.join(told)}" if told else "keeps the shares of the classes"
        if self.void_after is None or self.void_before is None:
            return of_classes
        return f"{of_classes}; void {self.void_before:.1%} -> {self.void_after:.1%}"


def shares(store: Store, recipe: Recipe, *, seed: int) -> Shares:
    """Over at most NUM_DRAWN images, each drawn once."""
    rows = spread(store.rows("train"), NUM_DRAWN)
    names = [one.name for one in trained(store.classes)]
    counted = []
    for drawn in (False, True):
        pixels, known, total = np.zeros(len(names), np.int64), 0, 0
        for row in rows:
            mask = store.mask(row)
            if drawn:
                mask = recipe(store.image(row), mask, seed=draw_seed(seed, 0, row))[1]
            labelling = store.labels.of_array(mask)
            planes = labelling if store.labels.overlap else [labelling == index for index in range(len(names))]
            pixels += [int((plane == 1).sum()) for plane in planes]
            known += int((mask != IGNORE_INDEX).sum())
            total += mask.size
        share = {name: float(count / known) if known else None for name, count in zip(names, pixels, strict=True)}
        counted.append((share, None if store.labels.overlap else 1 - known / total))
    (before, void_before), (after, void_after) = counted
    return Shares(before, after, void_before, void_after, len(rows))


@dataclass(frozen=True)
class Copy:
    """One copy of every training image, to be drawn into `folder`, which holds the recipe."""

    prepared: Path
    folder: Path
    number: int
    seed: int


def _draw_copies(
    prepared: Path, folder: Path, *, copies: int, seed: int, processes: int | None, progress: Progress[object]
) -> None:
    tasks = [Copy(prepared, folder, number, seed) for number in range(copies)]
    seconds = 60 + SECONDS_A_DRAW * len(Store(prepared).rows("train"))
    results = workers.each(draw, tasks, processes=processes, seconds=lambda _: seconds)
    for found in progress(results, "drawing copies of the training images", copies):
        if isinstance(found, workers.Ended):
            raise DatasetError(f"{folder}: a worker that drew copies {found.how}; run the same again, or set copies: 0")


def draw(copy: Copy) -> None:
    """Runs in a worker."""
    store, recipe = Store(copy.prepared), Recipe.load(copy.folder / "recipe.json")
    images, masks = variants.files(copy.folder, copy.number)
    with images.open("wb") as to_images, masks.open("wb") as to_masks:
        for row in store.rows("train"):
            image, mask = recipe(store.image(row), store.mask(row), seed=draw_seed(copy.seed, copy.number, row))
            to_images.write(np.ascontiguousarray(image).data)
            to_masks.write(np.ascontiguousarray(mask).data)


def check(recipe: Recipe, image: ImageArray, mask: UInt8Array, *, name: str, seed: int) -> None:
    """Refuse a draw with labels that the mask did not have, or whose mask went elsewhere than its image."""
    drawn_image, drawn_mask = recipe(image, mask, seed=seed)
    shape = *recipe.size_px, recipe.kind.channels
    if drawn_image.shape != shape or drawn_mask.shape != recipe.size_px:
        raise DatasetError(f"recipe: turns {name} into {drawn_image.shape}, not {shape}; end it with a crop or resize")
    invented = np.setdiff1d(drawn_mask, np.append(np.unique(mask), IGNORE_INDEX))
    if len(invented):
        raise DatasetError(f"recipe: invents the labels {invented.tolist()} in {name}; resample masks by nearest neighbour")
    apart = moved_apart(recipe.geometry(), mask, seed=seed)
    if apart > 0.02:
        raise DatasetError(f"recipe: moves image and mask of {name} apart: {apart:.0%} of the pixels inside regions disagree")


def moved_apart(geometry: Recipe, mask: UInt8Array, *, seed: int) -> float:
    """The share of pixels whose mask went elsewhere than the image, away from borders between regions.

    The mask itself, in gray values far apart, stands in for the image: wherever it lands, its gray tells which label belongs there.
    """
    labels = np.unique(mask)
    unit = np.iinfo(geometry.kind.dtype).max // 255
    gray_of = np.zeros(256, geometry.kind.dtype)
    gray_of[labels] = np.linspace(30, 255, len(labels)).astype(np.uint8).astype(geometry.kind.dtype) * unit
    gray, drawn = geometry(np.repeat(gray_of[mask][..., None], geometry.kind.channels, axis=2), mask, seed=seed)
    # where an image is enlarged, its borders blur: in relation to how much, and to how far a crop zooms in
    blur = max(2, math.ceil(max(np.array(drawn.shape) / mask.shape)) + 1)
    window = np.ones((2 * blur + 1, 2 * blur + 1), np.uint8)
    inside = (cv2.erode(drawn, window) == cv2.dilate(drawn, window)) & (drawn != IGNORE_INDEX)
    inside[:blur] = inside[-blur:] = inside[:, :blur] = inside[:, -blur:] = False  # a border may lie just beyond the frame
    step = 225 * unit / max(len(labels) - 1, 1)
    wrong = np.abs(gray[..., 0].astype(int) - gray_of[drawn].astype(int)) > step / 2
    return float(wrong[inside].mean()) if inside.any() else 0.0


def preview(store: Store, recipe: Recipe, path: Path, *, seed: int) -> None:
    """A sheet of PNG: a training image a row, as it is and as drawn in the first epochs, with its mask."""
    rows = []
    for row in spread(store.rows("train"), NUM_PREVIEWED):
        image, mask = np.array(store.image(row)), np.array(store.mask(row))
        cells = [shown(image), colored(store.labels.of_array(mask), store.classes)]
        for epoch in range(DRAWS_PREVIEWED):
            drawn_image, drawn_mask = recipe(image, mask, seed=draw_seed(seed, epoch, row))
            cells += [shown(drawn_image), overlay(shown(drawn_image), store.labels.of_array(drawn_mask), store.classes)]
        rows.append(cells)
    titles = [
        "image",
        "mask",
        *(f"epoch {epoch // 2 + 1}{'' if epoch % 2 == 0 else ' + mask'}" for epoch in range(2 * DRAWS_PREVIEWED)),
    ]
    names = [str(store.manifest["id"][row]) for row in spread(store.rows("train"), NUM_PREVIEWED)]
    sheet(path, rows, titles=titles, names=names, classes=store.classes)


def spread(rows: list[int], count: int) -> list[int]:
    """At most `count` of the rows, evenly over the whole list."""
    return [rows[i] for i in sorted({round(i) for i in np.linspace(0, len(rows) - 1, min(count, len(rows)))})]
