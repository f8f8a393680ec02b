"""Where shards begin, what they hold, and when one is made anew."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmodels import shards
from segmodels.samples import SegmentationClass
from segmodels.shards import Pair

CLASSES = [SegmentationClass("a", 0, (1, 2, 3)), SegmentationClass("b", 1, (4, 5, 6))]
SIZES = st.dictionaries(st.text(max_size=8), st.integers(0, 300), max_size=60)


@given(SIZES)
@pytest.mark.unhurried
def test_every_sample_is_in_one_part_and_no_part_is_too_large(sizes: dict[str, int]) -> None:
    parts = list(shards.cut(sizes, shard_bytes=1000))
    assert [name for part in parts for name in part] == sorted(sizes)
    assert all(part and sum(sizes[name] for name in part) <= 2000 for part in parts)


def test_parts_are_about_as_large_as_asked_for() -> None:
    parts = list(shards.cut({f"{n:05d}": 10 for n in range(50_000)}, shard_bytes=1000))
    assert 80 <= 50_000 / len(parts) <= 125


def test_a_few_more_samples_change_few_parts() -> None:
    sizes = {f"{n:05d}": 10 for n in range(0, 50_000, 2)}
    before = {tuple(part) for part in shards.cut(sizes, shard_bytes=1000)}
    grown = sizes | {f"{n:05d}": 10 for n in (7, 4001, 20_003, 20_005, 49_999)}
    after = {tuple(part) for part in shards.cut(grown, shard_bytes=1000)}
    assert len(before) > 200 and len(after - before) <= 10


def test_a_shard_that_was_damaged_is_not_whole(tmp_path: Path) -> None:
    shards.write(tmp_path, [Pair("x", np.full((3, 4, 3), 7, np.uint8), np.ones((3, 4), np.uint8))], CLASSES)
    assert shards.is_whole(tmp_path)
    for name in ("images.bin", "masks.bin", "shard.json"):
        content = (tmp_path / name).read_bytes()
        for damaged in (content[:-1], content[:5] + bytes([content[5] ^ 1]) + content[6:], b""):
            (tmp_path / name).write_bytes(damaged)
            assert not shards.is_whole(tmp_path), (name, damaged)
        (tmp_path / name).unlink()
        assert not shards.is_whole(tmp_path)
        (tmp_path / name).write_bytes(content)
    assert shards.is_whole(tmp_path)
