"""`segmodels inspect` and `ingest`, the program itself: what is said of a dataset, what comes in, what is left out."""

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image

from segmodels import locks, shapes, shards
from segmodels.dataset import open_dataset
from segmodels.errors import DatasetError
from segmodels.store import Store
from tests.conftest import PARAMS, REPOSITORY, clean_environment, decoded, examined, make_project, prepared_at
from tests.pipeline.projects import Project
from tests.pipeline.test_cli import segmodels
from tests.test_every_format import HEIGHT, SCENES, WIDTH, WRITERS, camvid, coco, folder, labels, voc, written
from tests.test_formats_of_their_own import EXPECTED


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
    for path in (root / "images").iterdir():
        path.unlink()
    told = json.loads(segmodels("inspect", str(root), "--json", cwd=tmp_path, code=2).stdout)  # where nothing can be used too
    assert (told["format"], len(told["problems"])) == (None, 3)


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


def test_a_person_says_how_large_images_may_be(params_file: Path, tmp_path: Path) -> None:
    written(folder, tmp_path / "source", SCENES)
    params_file.write_text(params_file.read_text().replace("{format: auto}", "{format: auto, max_megapixels: 0.0009}"))
    segmodels("ingest", "source", cwd=tmp_path, code=2)
    found = json.loads((tmp_path / "reports" / "problems.json").read_text())
    assert {one["fault"] for one in found} == {f"{WIDTH} x {HEIGHT} pixels, more than 900"}
    assert {one["remedy"] for one in found} == {"cut it into tiles, or raise dataset.max_megapixels in params.yaml"}
    params_file.write_text(params_file.read_text().replace("0.0009", "0.001"))
    segmodels("ingest", "source", cwd=tmp_path)


def test_what_is_gone_since_the_last_time_is_said(params_file: Path, tmp_path: Path) -> None:
    root = written(folder, tmp_path / "source", SCENES)
    assert "gone" not in segmodels("ingest", "source", cwd=tmp_path).stderr
    for path in root.rglob("two.png"):
        path.unlink()
    said = " ".join(segmodels("ingest", "source", cwd=tmp_path).stderr.split())
    assert "2 files that data/raw had are not in source, and are gone from it" in said
    assert "gone" not in segmodels("ingest", "source", cwd=tmp_path).stderr
    path = root / "images" / "one.png"
    path.write_bytes(path.read_bytes()[:-30])  # still there
    assert "gone" not in segmodels("ingest", "source", "--quarantine", cwd=tmp_path).stderr


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


@pytest.mark.parametrize("write", [*WRITERS, *EXPECTED])
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


def test_an_archive_is_brought_in_as_its_folder_would_be(params_file: Path, tmp_path: Path) -> None:
    root = written(folder, tmp_path / "source", SCENES)
    (root / "dvc.yaml").write_text("stages:\n  evil:\n    cmd: touch evil\n")
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[core]\nremote = evil\n")
    archive = shutil.make_archive(str(tmp_path / "data-of-today"), "zip", root.parent, root.name)
    told = json.loads(segmodels("inspect", archive, "--json", cwd=tmp_path).stdout)
    assert (told["format"], told["num_images"]) == ("folder", 3)
    assert "data/raw: 3 pairs" in segmodels("ingest", archive, cwd=tmp_path).stdout
    copy = tmp_path / "data" / "raw"
    assert {path.name for path in copy.iterdir()} == {"images", "masks", "classes.json", "segmodels.json", "splits.parquet"}
    for (one, image, mask), (other, its_image, its_mask) in zip(
        decoded(open_dataset(root, format="folder")), decoded(open_dataset(copy)), strict=True
    ):
        assert one.id == other.id and (image == its_image).all() and (mask == its_mask).all()
    assert sorted(path.name for path in (tmp_path / ".segmodels").iterdir()) == ["ledger.db", "locks"]  # nothing unpacked
    (root / "masks" / "three.png").write_bytes(b"")
    archive = shutil.make_archive(str(tmp_path / "data-of-today"), "zip", root.parent, root.name)
    said = segmodels("ingest", archive, cwd=tmp_path, code=2).stderr
    assert f"{archive}: 1 of 3 pairs are unusable" in said and "unpacked-" not in said
    assert json.loads((tmp_path / "reports" / "problems.json").read_text())[0]["file"] == "masks/three.png"


WRITER = """
import sys, time
from pathlib import Path
from PIL import Image

root, count = Path(sys.argv[1]), int(sys.argv[2])
for number in range(count):
    for kind, mode in (("images", "RGB"), ("masks", "L")):
        picture = Image.effect_noise((24, 16), 90).convert(mode) if mode == "RGB" else Image.new("L", (24, 16), number % 2)
        picture.save(root.parent / "whole.png")
        content = (root.parent / "whole.png").read_bytes()
        with (root / kind / f"{number:03d}.png").open("wb", buffering=0) as file:  # in two parts, as a slow copy comes
            file.write(content[: len(content) // 2])
            time.sleep(0.004)
            file.write(content[len(content) // 2 :])
"""


def test_a_dataset_that_is_still_being_written_is_waited_for(params_file: Path, tmp_path: Path) -> None:
    root = tmp_path / "source"
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    classes = {"classes": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}]}
    (root / "classes.json").write_text(json.dumps(classes))
    with subprocess.Popen([sys.executable, "-c", WRITER, str(root), "500"]) as writer:
        done = segmodels("ingest", str(root), cwd=tmp_path)
        assert writer.poll() == 0  # had ended before the import was through
    assert "waiting until nobody writes to" in done.stdout
    assert "data/raw: 500 pairs" in done.stdout
    copy = tmp_path / "data" / "raw"
    assert all(path.read_bytes() == (root / path.relative_to(copy)).read_bytes() for path in copy.glob("*/*.png"))


def test_one_import_waits_for_another(params_file: Path, tmp_path: Path) -> None:
    folder(tmp_path / "dataset", SCENES)
    command = [sys.executable, "-m", "segmodels", "ingest", str(tmp_path / "dataset")]
    with locks.held(tmp_path / ".segmodels" / "locks" / "raw"):
        environment = clean_environment(PYTHONUNBUFFERED="1", COLUMNS="200")
        waiting = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
        assert waiting.stdout is not None
        assert next(line for line in waiting.stdout if "another import runs in this folder; waiting for it" in line)
        time.sleep(0.5)
        assert waiting.poll() is None and not (tmp_path / "data").exists()
    said, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0 and "pairs" in said


PACK = """
import sys
from pathlib import Path
from segmodels import packing
from segmodels.dataset import open_dataset
from segmodels.ledger import Ledger

if __name__ == "__main__":
    with Ledger(Path("ledger.db")) as ledger:
        packing.pack(open_dataset(Path("raw")), ledger, Path("kept"), shard_bytes=100_000, processes=2)
"""


def test_packing_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    shapes.write(tmp_path / "raw", count=400, size_px=(64, 64), seed=0)
    (tmp_path / "pack.py").write_text(PACK)
    command, environment = [sys.executable, "pack.py"], clean_environment(PYTHONPATH=str(REPOSITORY))
    kept = tmp_path / "kept"
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as killed:
        while len(list(kept.glob("*/shard.json"))) < 5:
            assert killed.poll() is None, "ended before it could be killed"
            time.sleep(0.002)
        killed.kill()
    workers = [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(tmp_path)]
    deadline = time.monotonic() + 30
    while any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in workers):
        assert time.monotonic() < deadline, "workers outlive the program"
        time.sleep(0.02)
    before = {path: path.stat().st_ino for path in kept.glob("*/shard.json")}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    after = {path: path.stat().st_ino for path in kept.glob("*/shard.json")}
    assert 5 <= len(before) < len(after)
    assert {path: after[path] for path in before} == before
    assert sum(len(shards.read(path.parent).rows()) for path in after) == 400
    assert not list(kept.glob(".*"))


def test_real_datasets_come_in_through_make(real_data: Path, tmp_path: Path) -> None:
    project = Project(make_project(tmp_path / "project", PARAMS))
    told = project.make("data", f"SOURCE={real_data / 'dsb2018-small'}", "FORMAT=auto")
    assert "data/raw: 48 pairs, 2 classes, format `instance_masks`" in told
    told = project.make("data", f"SOURCE={real_data / 'panopticapi-sample'}", "FORMAT=coco_panoptic")
    assert "data/raw: 2 pairs, 133 classes, format `coco_panoptic`" in told
    assert len(list((project.folder / "data" / "raw").rglob("*.png"))) == 2
    assert "size: " in (project.folder / "data" / "raw.dvc").read_text()


def test_camvids_own_lists_leak(real_data: Path, tmp_path: Path) -> None:
    """Its validation images are a clip of a drive that the training images are of; another drive is in train and test."""
    said = segmodels("inspect", str(real_data / "camvid"), cwd=tmp_path).stdout
    assert "group 0016E5 is in train (204 images) and in val (101)" in said
    assert "group 0001TP is in train (62 images) and in test (62)" in said
    assert "splits.method: group" in said


def test_our_own_splits_of_camvid_do_not(real_data: Path, tmp_path: Path) -> None:
    dataset = open_dataset(real_data / "camvid")
    told: list[str] = []
    prepared_at(dataset, tmp_path / "store", val=0.3, test=0.3, seed=1, notice=told.append)
    manifest = Store(tmp_path / "store").manifest
    assert manifest.groupby("group")["split"].nunique().eq(1).all()
    assert set(manifest["split"]) == {"train", "val", "test"}
    assert not [one for one in told if "leak" in one]  # but that few drives of unlike length make splits of other shares
    assert json.loads((tmp_path / "store" / "leaks.json").read_text()) == []
