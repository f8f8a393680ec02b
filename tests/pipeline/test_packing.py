"""From files to shards: only what has changed is packed again, and a file that kills its reader is named."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from segmodels import packing, shapes, shards
from segmodels.dataset import Dataset, open_dataset
from segmodels.errors import DatasetError
from segmodels.ledger import Ledger
from segmodels.shards import Shard
from tests.conftest import decoded, examined
from tests.deadly import Deadly

A_SHARD = 4 * 3 * 16 * 16


@pytest.fixture
def drawings(tmp_path: Path) -> Path:
    """Forty small drawings."""
    shapes.write(tmp_path / "raw", count=40, size_px=(16, 16), seed=0)
    return tmp_path / "raw"


def packed(root: Path, kept: Path) -> list[Shard]:
    with Ledger() as ledger:
        return packing.pack(open_dataset(root), ledger, kept, shard_bytes=A_SHARD)


def inodes(kept: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_ino for path in kept.glob("*/shard.json")}


def test_the_pixels_are_those_of_the_files(drawings: Path, tmp_path: Path) -> None:
    made = packed(drawings, tmp_path / "kept")
    assert len(made) > 5
    rows = [(one, row) for one in made for row in one.rows()]
    for (shard, row), (sample, image, mask) in zip(rows, decoded(open_dataset(drawings)), strict=True):
        assert row.id == sample.id
        raw, labels = shards.images_of(shard).read_bytes(), shards.masks_of(shard).read_bytes()
        assert raw[row.image_offset :].startswith(image.tobytes())
        assert labels[row.mask_offset :].startswith(mask.tobytes())


def test_only_what_changed_is_packed_again(drawings: Path, tmp_path: Path) -> None:
    packed(drawings, tmp_path / "kept")
    before = inodes(tmp_path / "kept")
    packed(drawings, tmp_path / "kept")
    assert inodes(tmp_path / "kept") == before
    name = sorted((drawings / "masks").iterdir())[7].name
    shutil.copyfile(sorted((drawings / "masks").iterdir())[8], drawings / "masks" / name)
    made = packed(drawings, tmp_path / "kept")
    after = inodes(tmp_path / "kept")
    assert len(after.keys() - before.keys()) == 1
    assert all(after[shard] == inode for shard, inode in before.items())
    packing.remove_others(made, tmp_path / "kept")
    assert set(inodes(tmp_path / "kept")) == {one.folder.name for one in made}


def test_a_damaged_shard_is_packed_again(drawings: Path, tmp_path: Path) -> None:
    first = packed(drawings, tmp_path / "kept")[0]
    content = shards.images_of(first).read_bytes()
    shards.images_of(first).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    packed(drawings, tmp_path / "kept")
    assert shards.images_of(first).read_bytes() == content


def with_deadly(dataset: Dataset) -> Dataset:
    samples = list(dataset.samples)
    samples[5] = replace(samples[5], annotation=Deadly(samples[5].annotation))
    return replace(dataset, samples=samples)


def test_a_file_that_ends_its_reader_is_named(drawings: Path, tmp_path: Path) -> None:
    dataset = with_deadly(open_dataset(drawings))
    told = f"{dataset.samples[5].image_path}: it, or its annotation, ended the process that read it (exit code -11)"
    with pytest.raises(DatasetError, match="1 of 40 pairs are unusable") as refused:
        packing.pack(dataset, Ledger(), tmp_path / "kept", shard_bytes=A_SHARD)
    assert [one.split(";")[0] for one in refused.value.problems] == [told]
    with pytest.raises(DatasetError) as refused:
        examined(dataset)
    assert [one.split(";")[0] for one in refused.value.problems] == [told]
