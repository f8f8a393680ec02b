"""What is remembered of files and pairs, and when it is not."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from segmodels.dataset import open_dataset
from segmodels.examination import examine
from segmodels.ledger import Ledger
from tests.conftest import MakeDataset
from tests.test_every_format import SCENES, coco, written

LATER = 10**10


def keys_of(ledger: Ledger, root: Path) -> dict[str, str]:
    dataset = open_dataset(root)
    return ledger.keys(dataset, ledger.digests(dataset.files))


def ledger_at(path: Path | None, file: Path) -> Ledger:
    """One whose clock is long after the file's last change."""
    return Ledger(path, now_ns=lambda: file.stat().st_mtime_ns + LATER)


def test_a_file_is_hashed_again_when_it_was_touched(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    stat = file.stat()
    ledger = ledger_at(tmp_path / "ledger.db", file)
    first = ledger.digests([file, tmp_path / "missing"])
    # printf one | sha256sum
    assert first == {file: "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"}
    with file.open("r+") as opened:  # the same inode
        opened.write("two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert ledger_at(tmp_path / "ledger.db", file).digests([file]) == first  # nothing shows that it changed
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert ledger.digests([file]) != first


def test_what_was_only_just_written_is_not_relied_on(tmp_path: Path) -> None:
    """It may be written again before the clock of the file system moves on."""
    file = tmp_path / "a.txt"
    file.write_text("one")
    stat = file.stat()
    just_after = Ledger(tmp_path / "ledger.db", now_ns=lambda: stat.st_mtime_ns + 10**9)
    first = just_after.digests([file])
    with file.open("r+") as opened:
        opened.write("two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert just_after.digests([file]) != first


def test_a_damaged_one_is_begun_anew(tmp_path: Path) -> None:
    path, file = tmp_path / "ledger.db", tmp_path / "a.txt"
    file.write_text("one")
    with ledger_at(path, file) as ledger:
        first = ledger.digests([file])
    content = bytearray(path.read_bytes())
    content[:2000] = bytes(2000)
    path.write_bytes(content)
    with ledger_at(path, file) as ledger:
        assert ledger.digests([file]) == first


def test_keys_follow_what_is_decoded_not_where_it_lies(make_dataset: MakeDataset, tmp_path: Path) -> None:
    root = make_dataset({"one": np.zeros((2, 3)), "two": np.ones((2, 3))})
    ledger = Ledger()
    keys = keys_of(ledger, root)
    assert len(set(keys.values())) == 2
    moved = root.rename(tmp_path / "elsewhere")
    assert keys_of(ledger, moved) == keys
    mask = (moved / "masks" / "one.png").read_bytes()
    (moved / "masks" / "one.png").write_bytes((moved / "masks" / "two.png").read_bytes())
    changed = keys_of(ledger, moved)
    assert changed["one"] != keys["one"] and changed["two"] == keys["two"]
    (moved / "masks" / "one.png").write_bytes(mask)
    renamed = json.loads((moved / "classes.json").read_text())
    renamed["classes"][1]["id"] = 7
    (moved / "classes.json").write_text(json.dumps(renamed))
    assert not set(keys_of(ledger, moved).values()) & set(keys.values())


def test_one_more_image_in_a_coco_file_leaves_the_keys_of_the_others(tmp_path: Path) -> None:
    ledger = Ledger()
    few = {name: scene for name, scene in SCENES.items() if name != "three"}
    before = keys_of(ledger, written(coco, tmp_path / "few", few))
    after = keys_of(ledger, written(coco, tmp_path / "more", SCENES))
    assert {name: after[name] for name in before} == before and len(after) == 3


@pytest.mark.unhurried
def test_what_was_sound_is_not_decoded_again(make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_dataset({"one": np.zeros((2, 3)), "two": np.ones((2, 3))})
    ledger = Ledger()
    dataset = open_dataset(root)
    hashes = ledger.digests(dataset.files)
    first = list(examine(dataset, ledger, hashes))
    monkeypatch.setattr("segmodels.workers.each", lambda *_, **__: iter(()))
    assert list(examine(dataset, ledger, hashes)) == first
