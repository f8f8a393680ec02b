"""Where images are put is remembered with the dataset: whatever becomes of it, what was tested is tested."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from segmodels import remembered
from segmodels.atomic import write_json
from segmodels.dataset import open_dataset
from segmodels.errors import DatasetError
from segmodels.ingest import ingest
from segmodels.ledger import Ledger
from segmodels.remembered import Remembered, Splitting
from segmodels.store import Store
from tests.conftest import prepared_at

SHARES = {"val": 0.2, "test": 0.3, "seed": 0}
SPLITTING = Splitting("group", None, 0.2, 0.3, 0, "together")


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (12, 16, 3), np.uint8)


def write(root: Path, names: dict[str, int]) -> Path:
    """A dataset of pictures by their names."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for name, number in names.items():
        Image.fromarray(picture(number)).save(root / "images" / f"{name}.png")
        Image.fromarray(np.tile(np.array([0, 1], np.uint8), (12, 8))).save(root / "masks" / f"{name}.png")
    write_json(root / "classes.json", {"classes": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}]})
    return root


def placed(
    tmp_path: Path, version: int, names: dict[str, int], splitting: Splitting = SPLITTING
) -> tuple[dict[int, str], list[str]]:
    """Bring a version of the dataset in and prepare it: the split of every picture by its number, and what was said."""
    source, told = write(tmp_path / f"v{version}", names), list[str]()
    with Ledger(tmp_path / "ledger.db") as ledger:
        ingest(open_dataset(source), tmp_path / "raw", ledger=ledger, splitting=splitting)
    shares = {"val": splitting.val, "test": splitting.test, "seed": splitting.seed}
    store = Store(prepared_at(open_dataset(tmp_path / "raw"), tmp_path / f"store{version}", notice=told.append, **shares))
    split_of = dict(zip(store.manifest["id"], store.manifest["split"], strict=True))
    return {number: split_of[name] for name, number in names.items()}, told


def test_nothing_moves_as_a_dataset_grows_and_is_renamed(tmp_path: Path) -> None:
    before, _ = placed(tmp_path, 1, {f"i{n}": n for n in range(40)})
    assert set(before.values()) == {"train", "val", "test"}
    after, told = placed(tmp_path, 2, {f"cam1_{n:03d}": n for n in range(70)})
    assert {number: after[number] for number in before} == before
    assert not [one for one in told if "drawn anew" in one]
    # what is taken out and comes back is where it was
    rest, _ = placed(tmp_path, 3, {f"x{n}": n for n in range(15, 70)})
    assert rest == {number: after[number] for number in range(15, 70)}
    again, _ = placed(tmp_path, 4, {f"i{n}": n for n in range(70)})
    assert again == after


def test_what_is_exported_anew_stays_where_it_was(tmp_path: Path) -> None:
    before, _ = placed(tmp_path, 1, {f"i{n}": n for n in range(40)})
    after, _ = placed(tmp_path, 2, {f"i{n}": 100 + n for n in range(40)})  # other pixels
    assert {number - 100: split for number, split in after.items()} == before


def test_another_seed_is_another_draw_and_is_said(tmp_path: Path) -> None:
    names = {f"i{n}": n for n in range(40)}
    before, _ = placed(tmp_path, 1, names)
    told: list[str] = []
    prepared_at(open_dataset(tmp_path / "raw"), tmp_path / "other", notice=told.append, val=0.2, test=0.3, seed=1)
    assert any("the splits are drawn anew: splits.seed, val and test were 0, 0.2, 0.3" in one for one in told)
    after, told = placed(tmp_path, 2, names, Splitting("group", None, 0.2, 0.3, 1, "together"))
    assert after != before and not [one for one in told if "drawn anew" in one]  # brought in again it is remembered as that


def test_what_another_seed_has_tested_stays_tested_as_the_dataset_grows(tmp_path: Path) -> None:
    placed(tmp_path, 1, {f"i{n}": n for n in range(60)})
    store = Store(prepared_at(open_dataset(tmp_path / "raw"), tmp_path / "other", val=0.2, test=0.3, seed=1))
    before = dict(zip(store.manifest["id"], store.manifest["split"], strict=True))
    after, _ = placed(tmp_path, 2, {f"i{n}": n for n in range(80)}, Splitting("group", None, 0.2, 0.3, 1, "together"))
    assert {f"i{n}": after[n] for n in range(60)} == before


def test_what_is_remembered_is_written_and_read(tmp_path: Path) -> None:
    asked = Splitting("auto", None, 0.1, 0.25, 3, "ignore")
    images = {"one": "ab" * 32, "two": "cd" * 32}
    Remembered(asked).with_samples({"one": "test", "two": "val"}, images).write(tmp_path)
    found = remembered.read(tmp_path)
    assert found is not None and found.splitting == asked
    for image, name, split in (
        ("ab" * 32, "renamed", "test"),
        ("ef" * 32, "two", "val"),  # exported anew
        ("ab" * 32, "two", "test"),  # a name that another has now
        ("ef" * 32, "new", None),
    ):
        assert found.split(image, name) == split
    table = pd.read_parquet(tmp_path / remembered.NAME)
    table.assign(split=np.uint8(7)).to_parquet(tmp_path / remembered.NAME)
    with pytest.raises(DatasetError, match="is damaged .it has a split 7"):
        remembered.read(tmp_path)
    (tmp_path / remembered.NAME).write_bytes(b"no table")
    with pytest.raises(DatasetError, match="is damaged .*; restore it from the version before"):
        remembered.read(tmp_path)


def test_where_lists_are_given_they_decide_and_what_was_drawn_is_not_forgotten(tmp_path: Path) -> None:
    source = write(tmp_path / "data", {f"i{n}": n for n in range(6)})
    (source / "samples.csv").write_text("id,split\n" + "".join(f"i{n},{('train', 'val', 'test')[n % 3]}\n" for n in range(6)))
    drawn, listed = Splitting("group", None, 0.2, 0.3, 0, "together"), Splitting("auto", None, 0.2, 0.3, 0, "together")

    def brought_in(splitting: Splitting) -> tuple[Remembered | None, int]:
        """What is remembered then, and which folder the copy is."""
        with Ledger() as ledger:
            ingest(open_dataset(source), tmp_path / "raw", ledger=ledger, splitting=splitting)
        return remembered.read(tmp_path / "raw"), (tmp_path / "raw").stat().st_ino

    def split_of_all(found: Remembered | None) -> list[str | None]:
        assert found is not None
        return [found.split("0" * 64, f"i{n}") for n in range(6)]

    (nothing, first), (_, again) = brought_in(listed), brought_in(listed)
    assert split_of_all(nothing) == [None] * 6
    assert first == again  # nothing has changed: it is not copied again
    memory, _ = brought_in(drawn)
    assert None not in split_of_all(memory)
    for other in (listed, Splitting("group", "^(x)", 0.2, 0.3, 0, "together")):  # lists; a pattern that fits no id
        assert split_of_all(brought_in(other)[0]) == split_of_all(memory)


def test_what_stands_together_may_be_told_later(tmp_path: Path) -> None:
    names = {f"s{n % 5}-{n}": n for n in range(40)}
    before, _ = placed(tmp_path, 1, names)
    scenes, _ = placed(tmp_path, 2, names, Splitting("group", "^(s.)", 0.2, 0.3, 0, "together"))
    assert {number for number, split in before.items() if split == "test"} <= {
        number for number, split in scenes.items() if split == "test"
    }
    alone, _ = placed(tmp_path, 3, names)
    assert alone == scenes  # what has been tested stays
