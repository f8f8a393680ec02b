"""The program as people run it: as a process, with its output, its exit code and what it leaves behind."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tests.conftest import PARAMS, REPOSITORY, MakeDataset, clean_environment

ORDINARY = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
"""Runs a program without root's right to read and write everything."""
HALVES = np.array([[0, 0, 1, 1]] * 2, np.uint8)


def segmodels(*arguments: str, cwd: Path, code: int = 0, through: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*through, sys.executable, "-m", "segmodels", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=clean_environment(COLUMNS="200", NO_COLOR="1"),
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_help_lists_every_verb(tmp_path: Path) -> None:
    text = segmodels("--help", cwd=tmp_path).stdout
    for verb in ("params", "doctor", "shapes", "ingest", "prepare", "augment", "train", "evaluate", "compare", "predict"):
        assert f" {verb} " in text


def test_a_mistake_in_params_has_no_traceback_unless_asked_for(params_file: Path) -> None:
    params_file.write_text(PARAMS.replace("epochs: 2", "epocs: 2"))
    said = segmodels("params", cwd=params_file.parent, code=2).stderr
    assert "training.epocs: unknown key, did you mean 'epochs'?" in said
    assert "Traceback" not in said
    assert "Traceback" in segmodels("--debug", "params", cwd=params_file.parent, code=1).stderr


def test_an_unknown_candidate_is_said_with_the_nearest(params_file: Path) -> None:
    said = segmodels("train", "unett", cwd=params_file.parent, code=2).stderr
    assert "candidates: there is no 'unett', did you mean 'unet'?" in said


def test_no_leaderboard_yet_says_what_to_run(tmp_path: Path) -> None:
    assert "run `make retrain`" in segmodels("leaderboard", cwd=tmp_path, code=2).stderr


def test_ingest_copies_what_belongs_to_the_dataset(make_dataset: MakeDataset, params_file: Path, tmp_path: Path) -> None:
    source = make_dataset({"one": HALVES, "two": HALVES})
    (source / ".git").mkdir()
    (source / "notes.docx").write_text("no part of it")
    said = segmodels("ingest", str(source), cwd=tmp_path).stdout
    assert "2 pairs, 2 classes, format `folder`, mostly 4 x 2" in said
    copied = sorted(path.relative_to(tmp_path / "data" / "raw").as_posix() for path in (tmp_path / "data/raw").rglob("*.*"))
    names = [
        "classes.json",
        "images/one.png",
        "images/two.png",
        "masks/one.png",
        "masks/two.png",
        "segmodels.json",
        "splits.parquet",
    ]
    assert copied == names


def test_a_format_that_the_files_do_not_tell_is_remembered(make_dataset: MakeDataset, params_file: Path, tmp_path: Path) -> None:
    names = {split: [f"{split}_{number}" for number in range(3)] for split in ("train", "val", "test")}
    source = make_dataset({name: HALVES for listed in names.values() for name in listed})
    for split, listed in names.items():
        (source / f"{split}.txt").write_text("".join(f"images/{name}.png masks/{name}.png\n" for name in listed))
    assert "format `camvid`" in segmodels("ingest", str(source), "--format", "camvid", cwd=tmp_path).stdout
    segmodels("prepare", cwd=tmp_path)  # with `format: auto`, which by the files alone is `folder`, and draws the splits
    manifest = pd.read_parquet(tmp_path / "data" / "prepared" / "manifest.parquet")
    assert {split: sorted(rows["id"]) for split, rows in manifest.groupby("split")} == names
    (tmp_path / "data" / "raw" / "segmodels.json").write_text('{"format": "camvit"}')
    assert "segmodels.json: does not name a format" in segmodels("prepare", cwd=tmp_path, code=2).stderr


def test_files_that_may_not_be_read_are_named(make_dataset: MakeDataset, params_file: Path, tmp_path: Path) -> None:
    source = make_dataset({"one": HALVES, "two": HALVES})
    (source / "masks" / "one.png").chmod(0)
    said = segmodels("ingest", str(source), cwd=tmp_path, code=2, through=ORDINARY).stderr
    assert "1 of 2 pairs are unusable" in said
    assert "masks/one.png" in said and "may not be read by this user" in said


def test_a_folder_that_may_not_be_written_is_named(make_dataset: MakeDataset, params_file: Path, tmp_path: Path) -> None:
    source = make_dataset({"one": HALVES, "two": HALVES})
    (tmp_path / "data").mkdir(mode=0o500)
    said = segmodels("ingest", str(source), cwd=tmp_path, code=1, through=ORDINARY).stderr
    assert "permission denied" in said and "change its owner or its mode" in said
    assert "Traceback" not in said


def test_a_dataset_with_a_fault_leaves_the_old_one(make_dataset: MakeDataset, params_file: Path, tmp_path: Path) -> None:
    source = make_dataset({"one": HALVES, "two": HALVES})
    segmodels("ingest", str(source), cwd=tmp_path)
    (source / "masks" / "one.png").write_bytes(b"")
    assert "masks/one.png" in segmodels("ingest", str(source), cwd=tmp_path, code=2).stderr
    assert len(list((tmp_path / "data" / "raw" / "masks").iterdir())) == 2
    assert (tmp_path / "data" / "raw" / "masks" / "one.png").stat().st_size > 0
    assert sorted(os.listdir(tmp_path / "data")) == ["raw"]


def test_a_link_out_of_the_dataset_is_refused(make_dataset: MakeDataset, params_file: Path, tmp_path: Path) -> None:
    source = make_dataset({"one": HALVES, "two": HALVES})
    moved = tmp_path / "elsewhere.png"
    (source / "images" / "one.png").rename(moved)
    (source / "images" / "one.png").symlink_to(moved)
    assert "leads out of the folder" in segmodels("ingest", str(source), cwd=tmp_path, code=2).stderr


def test_a_dataset_that_cannot_be_split_is_refused_whole(make_dataset: MakeDataset, params_file: Path, tmp_path: Path) -> None:
    source = make_dataset({"one": HALVES, "two": HALVES})
    segmodels("ingest", str(source), cwd=tmp_path)
    assert "would have no images" in segmodels("prepare", cwd=tmp_path, code=2).stderr
    assert os.listdir(tmp_path / "data") == ["raw"]


def test_make_lists_every_target_for_people() -> None:
    text = subprocess.run(["make"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for target in (
        "help",
        "setup",
        "demo",
        "data",
        "retrain",
        "doctor",
        "check",
        "types",
        "test-fast",
        "test",
        "test-slow",
        "mlflow",
        "lock",
    ):
        assert f"make {target} " in text


def test_make_data_without_a_source_says_what_is_missing() -> None:
    command = ["make", "-o", "setup", "data", f"VENV={sys.prefix}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, env=clean_environment(), check=False)
    assert done.returncode != 0
    assert "make data SOURCE=<folder>" in done.stdout
