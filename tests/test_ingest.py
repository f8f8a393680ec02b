"""Bringing in again what was brought in before: only what has changed is looked at and copied."""

import os
import shutil
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segmodels.dataset import open_dataset
from segmodels.errors import DatasetError
from segmodels.examination import Chunk, look_at
from segmodels.ingest import ingest
from segmodels.ledger import Ledger
from tests.conftest import MakeDataset, decoded

MASKS = {"one": np.zeros((2, 3), np.uint8), "two": np.ones((2, 3), np.uint8), "three": np.ones((4, 3), np.uint8)}


@pytest.fixture
def source(make_dataset: MakeDataset) -> Path:
    return make_dataset(MASKS)


def brought_in(source: Path, copy: Path, **keywords: Any) -> dict[str, int]:
    """Bring it in; the inodes of the copy's files, by their paths in it."""
    with Ledger(copy.with_name("ledger.db")) as ledger:
        ingest(open_dataset(source), copy, ledger=ledger, **keywords)
    return inodes(copy)


def inodes(copy: Path) -> dict[str, int]:
    return {path.relative_to(copy).as_posix(): path.stat().st_ino for path in sorted(copy.rglob("*")) if path.is_file()}


@pytest.mark.unhurried
def test_what_is_unchanged_is_left_alone(source: Path, tmp_path: Path) -> None:
    first = brought_in(source, tmp_path / "copy")
    assert set(first) == {f"{kind}/{name}.png" for kind in ("images", "masks") for name in MASKS} | {
        "classes.json",
        "segmodels.json",
    }
    folder = (tmp_path / "copy").stat().st_ino
    assert brought_in(source, tmp_path / "copy") == first
    assert (tmp_path / "copy").stat().st_ino == folder


@pytest.mark.unhurried
def test_one_that_changed_is_copied_and_one_that_went_is_gone(source: Path, tmp_path: Path) -> None:
    first = brought_in(source, tmp_path / "copy")
    Image.fromarray(MASKS["two"] * 0).save(source / "masks" / "two.png")
    for kind in ("images", "masks"):
        (source / kind / "three.png").unlink()
    second = brought_in(source, tmp_path / "copy")
    assert first.keys() - second.keys() == {"images/three.png", "masks/three.png"}
    assert {name for name in second if second[name] != first[name]} == {"masks/two.png", "segmodels.json"}
    masks = {sample.id: mask.tolist() for sample, _, mask in decoded(open_dataset(tmp_path / "copy"))}
    assert masks == {"one": [[0] * 3] * 2, "two": [[0] * 3] * 2}


@pytest.mark.unhurried
def test_a_copy_that_somebody_changed_is_put_right(source: Path, tmp_path: Path) -> None:
    brought_in(source, tmp_path / "copy")
    Image.fromarray(MASKS["two"] * 0).save(tmp_path / "copy" / "masks" / "two.png")
    (tmp_path / "copy" / "notes.txt").write_text("mine")
    brought_in(source, tmp_path / "copy")
    assert (tmp_path / "copy" / "masks" / "two.png").read_bytes() == (source / "masks" / "two.png").read_bytes()
    assert not (tmp_path / "copy" / "notes.txt").exists()


@pytest.mark.unhurried
def test_what_changes_while_it_is_read_does_not_come_in(source: Path, tmp_path: Path) -> None:
    """Sound when it was looked at, another when it is copied."""

    def changing(results: Iterable[Any], *_: object) -> Iterator[Any]:
        yield from results
        Image.fromarray(MASKS["two"] * 0).save(source / "masks" / "two.png")

    with pytest.raises(DatasetError, match="1 files were changed meanwhile, nothing was written") as refused:
        brought_in(source, tmp_path / "copy", progress=changing)
    assert refused.value.problems == [
        f"{source / 'masks' / 'two.png'}: was changed while it was read; bring the dataset in again when nobody writes to it"
    ]
    assert not (tmp_path / "copy").exists()


def test_wrong_rows_of_the_table_cost_their_own_samples_alone(source: Path, tmp_path: Path) -> None:
    table = "id,split\none,train\none,test\ntwo,training\nthree,val\nfour,test\n"
    (source / "samples.csv").write_text(table)
    path = source / "samples.csv"
    wrong = [
        f"{path}: lists one twice; remove one of the rows",
        f"{path}: split of two is 'training'; expected one of train, val, test or nothing",
        f"{path}: lists four, but there is no such image; add it or remove the row",
    ]
    with Ledger() as ledger:
        with pytest.raises(DatasetError) as refused:
            ingest(open_dataset(source, tolerant=True), tmp_path / "copy", ledger=ledger)
        assert refused.value.problems == wrong
        ingest(open_dataset(source, tolerant=True), tmp_path / "copy", ledger=ledger, quarantine=True)
    [sample] = open_dataset(tmp_path / "copy").samples
    assert (sample.id, sample.split) == ("three", "val")


def test_what_has_no_end_is_not_read(source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "images" / "pipe.png")
    (source / "images" / "zero.png").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        shutil.copyfile(next((source / "masks").iterdir()), source / "masks" / f"{name}.png")
    with pytest.raises(DatasetError) as caught:
        open_dataset(source)
    assert len(caught.value.problems) == 2
    assert all("is no file that can be read to its end" in one for one in caught.value.problems)


def test_whatever_a_decoder_raises_costs_its_own_pair(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any) -> None:
        raise struct.error("unpack requires a buffer of 2 bytes")

    monkeypatch.setattr("segmodels.examination.load", load)
    dataset = open_dataset(source)
    [said] = look_at(Chunk(dataset.samples[:1], dataset.classes, dataset.kind))
    assert "cannot be read (error: unpack requires a buffer of 2 bytes); it is damaged: export it again" in str(said)
