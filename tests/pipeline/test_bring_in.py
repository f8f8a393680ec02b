"""`segmodels inspect` and `ingest`, the program itself: what is said of a dataset, what comes in, what is left out."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from segmodels.dataset import open_dataset
from segmodels.errors import DatasetError
from segmodels.ledger import Ledger
from segmodels.prepare import prepare
from segmodels.store import Store
from tests.conftest import decoded, examined
from tests.test_cli import segmodels
from tests.test_every_format import HEIGHT, SCENES, WIDTH, WRITERS, camvid, coco, folder, labels, voc, written


def test_inspect_says_what_would_be_read(tmp_path: Path) -> None:
    root = written(coco, tmp_path / "data", SCENES)
    said = segmodels("inspect", str(root), cwd=tmp_path).stdout
    assert "format `coco`, as it annotations/instances_default.json lists images, categories and segmentations" in said
    assert "3 images (no splits; no groups), task multiclass" in said
    assert "width x height: 40 x 24 (3)" in said
    assert "5 objects told apart" in said
    assert not list(tmp_path.glob("data/raw")) and not (tmp_path / "reports").exists()
    told = json.loads(segmodels("inspect", str(root), "--json", cwd=tmp_path).stdout)
    assert [one["name"] for one in told["classes"]] == ["background", "house", "tree"]
    shares = [float(np.mean([(labels(objects) == index).mean() for objects in SCENES.values()])) for index in range(3)]
    assert [one["share"] for one in told["classes"]] == pytest.approx(shares)
    assert [one["num_images"] for one in told["classes"]] == [3, 2, 2]
    assert (told["num_objects"], told["void"], told["problems"]) == (5, 0, [])


def spoiled(write: Callable[..., None], root: Path) -> Path:
    """A dataset whose image `two` is cut short."""
    written(write, root, SCENES)
    folders = {"images", "train", "JPEGImages"}
    [path] = [path for path in root.rglob("two.png") if path.parent.name in folders]
    path.write_bytes(path.read_bytes()[:-30])
    return root


def test_what_is_wrong_is_a_table_a_json_and_a_csv(params_file: Path, tmp_path: Path) -> None:
    root = spoiled(folder, tmp_path / "source")
    (root / "masks" / "three.png").unlink()
    told = segmodels("inspect", str(root), "--json", cwd=tmp_path, code=2).stdout
    done = segmodels("ingest", str(root), cwd=tmp_path, code=2)
    assert (
        "2 of 3 pairs are unusable, nothing was written; all are in reports/problems.json and reports/problems.csv" in done.stderr
    )
    assert "--quarantine" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "data" / "raw").exists()
    found = json.loads((tmp_path / "reports" / "problems.json").read_text())
    assert found == json.loads(told)["problems"]
    assert [one["file"] for one in found] == [f"{'images/three.png'}", "images/two.png"]
    assert [one["remedy"] for one in found] == ["expected masks/three.png", "export it again"]
    assert pd.read_csv(tmp_path / "reports" / "problems.csv").to_dict("records") == found
    Image.fromarray(labels([])).save(root / "masks" / "three.png")
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "images" / "two.png")
    segmodels("ingest", str(root), cwd=tmp_path)
    assert not list((tmp_path / "reports").glob("problems.*"))  # mended


@pytest.mark.parametrize("write", [folder, camvid, voc, coco])
def test_quarantine_takes_in_the_rest_and_keeps_the_list(write: Callable[..., None], params_file: Path, tmp_path: Path) -> None:
    root = spoiled(write, tmp_path / "source")
    done = segmodels("ingest", str(root), "--quarantine", cwd=tmp_path)
    assert "data/raw: 2 pairs" in done.stdout
    assert "1 files or entries were left out; all are in reports/problems.json" in done.stderr
    copy = tmp_path / "data" / "raw"
    assert not [path for path in copy.rglob("two.*") if path.suffix == ".png" and "images" in path.parts]
    noted = json.loads((copy / "segmodels.json").read_text())
    assert len(noted["left_out"]) == 1 and "two.png: cannot be read" in noted["left_out"][0]
    # where lists still name what was left out, that is known; anything else that is missing is not
    dataset = open_dataset(copy)
    assert sorted(sample.id for sample, _, _ in decoded(dataset)) == ["one", "three"]
    dataset.samples[0].image_path.unlink()
    with pytest.raises(DatasetError):
        examined(open_dataset(copy))


def test_where_nothing_is_sound_nothing_comes_in(params_file: Path, tmp_path: Path) -> None:
    root = written(folder, tmp_path / "source", SCENES)
    for path in (root / "images").iterdir():
        path.write_bytes(b"")
    said = segmodels("ingest", str(root), "--quarantine", cwd=tmp_path, code=2).stderr
    assert "nothing in it can be used" in said
    assert not (tmp_path / "data" / "raw").exists()


@pytest.mark.parametrize("write", WRITERS)
def test_damaged_files_are_refused_or_read_and_nothing_else_happens(write: Callable[..., None], tmp_path: Path) -> None:
    root = written(write, tmp_path / "data", SCENES)
    texts = [path for path in sorted(root.rglob("*")) if path.is_file()]
    before = {path: path.read_bytes() for path in texts}
    for seed in range(40):
        rng = random.Random(seed)
        path = rng.choice(texts)
        content = bytearray(before[path])
        for _ in range(rng.choice((1, 3, 30))):
            place = rng.randrange(len(content) + 1)
            match rng.randrange(4):
                case 0:
                    content[place : place + rng.randrange(1, 20)] = b""
                case 1:
                    content[place:place] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 5)))
                case 2:
                    content[place : place + 1] = rng.choice(
                        (b"-9", b"1e999", b"null", b"[]", b"{}", b'"', b"9999999999", b"../", b"\n")
                    )
                case 3:
                    content[place : place + 4] = content[place // 2 : place // 2 + 4]
        path.write_bytes(content)
        try:
            decoded(open_dataset(root))
        except DatasetError:
            pass
        finally:
            path.write_bytes(before[path])
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(texts)


def test_camvids_own_lists_leak(real_data: Path, tmp_path: Path) -> None:
    """Its validation images are a clip of a drive that the training images are of; another drive is in train and test."""
    said = segmodels("inspect", str(real_data / "camvid"), cwd=tmp_path).stdout
    assert "group 0016E5 is in train (204 images) and in val (101)" in said
    assert "group 0001TP is in train (62 images) and in test (62)" in said
    assert "splits.method: group" in said


def test_our_own_splits_of_camvid_do_not(real_data: Path, tmp_path: Path) -> None:
    dataset = open_dataset(real_data / "camvid")
    told: list[str] = []
    drawn = {"method": "group", "group_pattern": None, "val": 0.3, "test": 0.3, "seed": 1}
    with Ledger() as ledger:
        prepare(dataset, tmp_path / "store", ledger=ledger, kept=tmp_path / "kept", **drawn, notice=told.append)  # type: ignore[arg-type]
    manifest = Store(tmp_path / "store").manifest
    assert manifest.groupby("group")["split"].nunique().eq(1).all()
    assert set(manifest["split"]) == {"train", "val", "test"}
    assert (told, json.loads((tmp_path / "store" / "leaks.json").read_text())) == ([], [])
