"""Samples: the same however many threads draw them; those of a validation are prepared once where there is room."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from segmodels import batches, catalog, memory
from segmodels.recipes import Recipe
from segmodels.samples import ImageArray, SegmentationClass
from segmodels.shards import Pair
from segmodels.store import Store
from tests.conftest import stored

SIZE_PX = (32, 64)
SAMPLE_BYTES = 4 * 32 * 64  # three channels and the mask


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Five images to validate with, twice the network's size, in noise."""
    rng = np.random.default_rng(0)
    pairs = [
        Pair(f"i{number}", rng.integers(0, 256, (64, 128, 3), np.uint8), rng.integers(0, 2, (64, 128), np.uint8))
        for number in range(5)
    ]
    classes = [SegmentationClass("no", 0, (0, 0, 0)), SegmentationClass("yes", 1, (9, 9, 9))]
    found = stored(tmp_path / "store", pairs, classes)
    found.manifest["split"] = "val"
    return found


@pytest.mark.parametrize(("room_samples", "read_again"), [(5, 0), (2, 3), (0, 5)])
def test_a_later_epoch_has_the_same_and_reads_what_there_was_no_room_for(
    store: Store, monkeypatch: pytest.MonkeyPatch, room_samples: int, read_again: int
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: room_samples * SAMPLE_BYTES / batches.KEPT_SHARE)
    read, image = list[int](), store.image

    def noted(row: int) -> ImageArray:
        read.append(row)
        return image(row)

    monkeypatch.setattr(store, "image", noted)
    loader = batches.validation(store, size_px=SIZE_PX, batch_size=2, rank=0, world=1, pin=False)
    first = [tuple(one.clone() for one in batch) for batch in loader]
    assert len(read) == 5 and [len(images) for images, _ in first] == [2, 2, 1]
    second = list(loader)
    assert len(read) == 5 + read_again
    for before, after in zip(first, second, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("balanced_crops", [0.0, 0.5])
def test_threads_draw_what_one_would(store: Store, monkeypatch: pytest.MonkeyPatch, balanced_crops: float) -> None:
    store.manifest["split"] = "train"
    recipe = Recipe(catalog.build("augmentations", "strong", SIZE_PX, options={}), SIZE_PX)
    drawn = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        loader = batches.training(
            store,
            recipe,
            batch_size=5,
            micro_batch_size=5,
            balanced_crops=balanced_crops,
            parts=1,
            start=0,
            rank=0,
            world=1,
            seed=3,
            pin=False,
        )
        epochs = []
        for epoch in range(4):
            assert isinstance(loader.sampler, batches.PartSampler)
            loader.sampler.set_epoch(epoch)
            epochs += list(loader)
        drawn.append(epochs)
    assert threading.active_count() > 2  # there were threads
    for one, other in zip(*drawn, strict=True):
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))
    assert not torch.equal(drawn[0][0].images, drawn[0][1].images)
