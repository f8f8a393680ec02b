"""From shards to a store: which sample belongs where, and what the whole comes to."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from segmodels import digests
from segmodels.atomic import write_json
from segmodels.label_sets import SetTable
from segmodels.samples import PARTS, RGB, ImageKind, Part, SegmentationClass, Task
from segmodels.shards import Row, Shard, images_of, masks_of
from segmodels.store import MANIFEST, check_pixels


class Place(NamedTuple):
    """Where a sample belongs. `scene` is one with others' where their groups have the same image, or images that look the same."""

    split: Part
    group: str
    scene: str


def write(
    folder: Path,
    made: Sequence[Shard],
    classes: Sequence[SegmentationClass],
    task: Task = "multiclass",
    kind: ImageKind = RGB,
    *,
    places: Mapping[str, Place],
) -> None:
    """Write a store into an empty folder. Shards become hard links, so that they lie on the disk once.

    Args:
        places: where each sample belongs, by its id.
    """
    table = SetTable()
    for one in sorted({labels for shard in made for labels in shard.sets}):  # the same numbers, however the shards came about
        table.add(one)
    for shard in made:
        _link(images_of(shard), folder / _images(shard))
        _write_masks(shard, table, folder / _masks(shard))
    manifest, totals = _manifest(made, places)
    manifest = MANIFEST.validate(manifest)
    check_pixels(manifest, task)
    manifest.to_parquet(folder / "manifest.parquet", index=False)
    columns = (manifest[name] for name in ("id", "split", "sha256"))
    lines = [task, str(kind), *(f"{name}\n{split}\n{sha256}" for name, split, sha256 in zip(*columns, strict=True))]
    mean, std = _moments(manifest, totals)
    write_json(
        folder / "dataset.json",
        {
            "task": task,
            **kind._asdict(),
            "label_sets": table.sets,
            "classes": [one.to_dict() for one in classes],
            "mean": mean,
            "std": std,
            "num_images": {part: int((manifest["split"] == part).sum()) for part in PARTS},
            "sha256": digests.of_texts(*lines),
        },
    )


def _manifest(made: Sequence[Shard], places: Mapping[str, Place]) -> tuple[pd.DataFrame, np.ndarray]:
    """The manifest, and the sums of each image's channels and of their squares, N x 2 x C."""
    parts, sums = [], []
    for shard in made:
        rows = shard.rows()
        parts.append(pd.DataFrame([_row(one, places[one.id], shard) for one in rows]))
        sums.append(np.array([[one.facts.total, one.facts.squares] for one in rows], np.int64))
    manifest = pd.concat(parts, ignore_index=True)
    order = np.argsort(manifest["id"].to_numpy(), kind="stable")
    return manifest.iloc[order].reset_index(drop=True), np.concatenate(sums)[order]


def _row(row: Row, place: Place, shard: Shard) -> dict[str, Any]:
    facts = row.facts
    return {
        "id": row.id,
        **place._asdict(),
        "height": facts.height,
        "width": facts.width,
        "sha256": facts.sha256,
        "image_sha256": facts.image_sha256,
        "look": facts.look,
        "images": _images(shard),
        "image_offset": row.image_offset,
        "masks": _masks(shard),
        "mask_offset": row.mask_offset,
        "pixels_void": facts.pixels_void,
        **{f"pixels_{index}": pixels for index, pixels in enumerate(facts.pixels)},
    }


def _moments(manifest: pd.DataFrame, sums_N2C: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the training images' channels, from integer sums: exact, in any order."""
    training = (manifest["split"] == "train").to_numpy()
    count = max(1, int((manifest["height"] * manifest["width"])[training].sum()))
    totals, squares = sums_N2C[training].astype(object).sum(axis=0)  # Python's integers do not overflow
    mean = [float(total / count) for total in totals]
    variance = [float(square / count) - one**2 for square, one in zip(squares, mean, strict=True)]
    return mean, [max(one, 1.0) ** 0.5 for one in variance]  # 1: images of one colour


def _images(shard: Shard) -> str:
    return f"images-{shard.images[:16]}.bin"


def _masks(shard: Shard) -> str:
    meaning = f"{shard.masks}{shard.sets or ''}"  # where classes overlap, the same bytes may say something else
    return f"masks-{digests.of_texts(meaning)[:16]}.bin"


def _link(source: Path, target: Path) -> None:
    if target.exists():  # of another shard with the same pixels
        return
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that knows no links
        shutil.copyfile(source, target)


def _write_masks(shard: Shard, table: SetTable, target: Path) -> None:
    """A shard's masks, in the numbers of the whole dataset's table."""
    values = table.renumbered(shard.sets)
    if (values[: len(shard.sets)] == np.arange(len(shard.sets))).all():
        _link(masks_of(shard), target)
    elif not target.exists():
        with masks_of(shard).open("rb") as source, target.open("wb") as file:
            while block := source.read(2**24):
                file.write(values[np.frombuffer(block, np.uint8)].data)
