"""The store gives back the pixels it was given, and knows when they change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from segmodels.assembly import Place
from segmodels.errors import DatasetError
from segmodels.samples import SPLITS, SegmentationClass
from segmodels.shards import Pair
from segmodels.store import Store
from tests.conftest import stored

CLASSES = [SegmentationClass("a", 0, (1, 2, 3)), SegmentationClass("b", 4, (4, 5, 6)), SegmentationClass("v", 9, (0, 0, 0), True)]


def packed(count: int = 6, *, changed: int | None = None) -> list[Pair]:
    rng = np.random.default_rng(5)
    samples = []
    for n in range(count):
        height, width = 5 + n, 7 + n
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        mask = rng.choice(np.array([0, 1, 255], np.uint8), (height, width))
        if n == changed:
            mask[0, 0] = 1 - min(mask[0, 0], 1)
        samples.append(Pair(f"s{n}", image, mask))
    return samples


def places(samples: list[Pair]) -> dict[str, Place]:
    """The samples in turn to train, val and test, each a group of its own."""
    return {one.id: Place(SPLITS[position % 3], f"g{position}", f"g{position}") for position, one in enumerate(samples)}


def written(folder: Path, samples: list[Pair], *, pairs_a_shard: int = 100) -> Store:
    return stored(folder, samples, CLASSES, places=places(samples), pairs_a_shard=pairs_a_shard)


def test_pixels_come_back_over_many_shards(tmp_path: Path) -> None:
    samples = packed()
    found = written(tmp_path / "s", samples, pairs_a_shard=2)
    assert len(list((tmp_path / "s").glob("images-*.bin"))) == 3
    for row, sample in enumerate(samples):
        assert (found.image(row) == sample.image).all()
        assert (found.mask(row) == sample.labelling).all()
    assert found.rows("val") == [1, 4]
    assert found.classes == CLASSES
    assert found.labels.num_classes == 2


def test_the_manifest_counts_pixels(tmp_path: Path) -> None:
    mask = np.array([[0, 0, 1], [255, 255, 255]], np.uint8)
    found = written(tmp_path / "s", [Pair("x", np.zeros((2, 3, 3), np.uint8), mask)])
    row = found.manifest.iloc[0]
    assert (row["pixels_0"], row["pixels_1"], row["pixels_void"], row["height"], row["width"]) == (2, 1, 3, 2, 3)


def test_mean_and_deviation_are_of_the_training_images(tmp_path: Path) -> None:
    samples = packed()
    found = written(tmp_path / "s", samples)
    pixels = np.concatenate([one.image.reshape(-1, 3) for one in samples[::3]]).astype(float)
    np.testing.assert_allclose(found.mean, pixels.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.std, pixels.std(axis=0), rtol=1e-9)


def test_one_changed_pixel_changes_its_splits_digest_only(tmp_path: Path) -> None:
    first, second = written(tmp_path / "1", packed()), written(tmp_path / "2", packed(changed=2))  # s2 is of the test split
    assert first.sha256 != second.sha256
    assert first.digest("test") != second.digest("test")
    assert first.digest("train") == second.digest("train")


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="run `segmodels prepare`"):
        Store(tmp_path)
    written(tmp_path / "s", packed())
    (tmp_path / "s" / "manifest.parquet").unlink()
    with pytest.raises(DatasetError, match="run `segmodels prepare`"):
        Store(tmp_path / "s")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "manifest.parquet").write_bytes(b"PAR1"), "Parquet file size is 4 bytes"),
        (lambda folder: (folder / "dataset.json").write_text('{"task": "multi'), "Unterminated string"),
        (lambda folder: rewrite(folder, lambda rows: rows.drop(columns="split")), "column 'split' not in dataframe"),
        (lambda folder: rewrite(folder, lambda rows: rows.assign(split="holdout")), "holdout"),
        (lambda folder: rewrite(folder, lambda rows: rows.assign(pixels_void=rows["pixels_void"] + 1)), "do not add up"),
    ],
)
def test_a_damaged_store_is_refused(tmp_path: Path, damage: Callable[[Path], object], told: str) -> None:
    written(tmp_path / "s", packed())
    damage(tmp_path / "s")
    with pytest.raises(DatasetError, match="run `segmodels prepare` again") as refused:
        Store(tmp_path / "s")
    assert told in str(refused.value)


def rewrite(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = folder / "manifest.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def test_pixels_are_mapped_and_not_read(tmp_path: Path) -> None:
    samples = packed()
    store = written(tmp_path / "store", samples)
    for view in (store.image(0), store.mask(0)):
        base: Any = view
        while base is not None and not isinstance(base, np.memmap):
            base = base.base
        assert isinstance(base, np.memmap) and not view.flags.writeable
