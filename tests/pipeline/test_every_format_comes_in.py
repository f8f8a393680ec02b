"""A dataset of any format is brought in as what it is, decoded in processes of their own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from segmodels.dataset import open_dataset
from segmodels.ingest import ingest
from segmodels.ledger import Ledger
from tests.conftest import decoded
from tests.test_every_format import SCENES, WRITERS, written


@pytest.mark.parametrize("write", WRITERS)
def test_what_is_brought_in_is_read_the_same(write: Callable[..., None], tmp_path: Path) -> None:
    root = written(write, tmp_path / "data", SCENES)
    (root / "shopping.txt").write_text("milk")
    dataset = open_dataset(root)
    ingest(dataset, tmp_path / "copy", ledger=Ledger())
    assert not (tmp_path / "copy" / "shopping.txt").exists()
    copied = open_dataset(tmp_path / "copy")
    assert (copied.format, copied.classes, copied.task) == (dataset.format, dataset.classes, dataset.task)
    for (one, image, mask), (other, its_image, its_mask) in zip(decoded(dataset), decoded(copied), strict=True):
        assert (one.id, one.split, one.group) == (other.id, other.split, other.group)
        assert (image == its_image).all() and (mask == its_mask).all()


@pytest.mark.parametrize("write", WRITERS)
def test_a_table_tells_the_splits_and_scenes_of_any_format(write: Callable[..., None], tmp_path: Path) -> None:
    root = written(write, tmp_path / "data", SCENES)
    ids = [sample.id for sample in open_dataset(root).samples]
    (root / "samples.csv").write_text(f"id,split,group\n{ids[0]},test,street\n{ids[1]},train,\n")
    with Ledger() as ledger:
        ingest(open_dataset(root), tmp_path / "copy", ledger=ledger)
    first, second, *_ = open_dataset(tmp_path / "copy").samples
    assert (first.id, first.split, first.group) == (ids[0], "test", "street")
    assert (second.id, second.split) == (ids[1], "train")
