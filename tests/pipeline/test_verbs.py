"""The verbs that load torch, as processes: `doctor`, and every stage on its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import PARAMS, clean_environment
from tests.pipeline.test_cli import segmodels
from tests.pipeline.test_full_disk import left, run_on_small_disk


def test_doctor_finds_what_is_wrong(params_file: Path) -> None:
    well = segmodels("doctor", cwd=params_file.parent).stdout
    assert "Python: 3." in well
    assert "project tiny, candidates unet, pspnet" in well
    for name in ("torch: ", "CPU cores: ", "memory: ", "disk: ", "MLflow at sqlite:///mlflow.db: not there yet"):
        assert name in well
    params_file.write_text(PARAMS.replace("unet", "unett"))
    assert "there is no 'unett'" in segmodels("doctor", cwd=params_file.parent, code=1).stdout


def test_doctor_says_when_a_server_is_not_reached(params_file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "segmodels", "doctor"],
        cwd=params_file.parent,
        capture_output=True,
        text=True,
        # port 9 of this machine: nobody listens there
        env=clean_environment(MLFLOW_TRACKING_URI="http://127.0.0.1:9", PREFECT_API_URL="http://127.0.0.1:9/api"),
        check=False,
    )
    assert done.returncode == 1
    for server in ("MLflow at http://127.0.0.1:9", "Prefect at http://127.0.0.1:9/api"):
        assert f"wrong {server}: cannot be reached" in done.stdout


def test_the_stages_run_without_dvc_or_prefect(drawn: Path, params_file: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "raw").symlink_to(drawn)
    segmodels("prepare", cwd=tmp_path)
    segmodels("augment", "light", cwd=tmp_path)
    said = segmodels("train", "pspnet", cwd=tmp_path).stdout
    assert "pspnet: epoch 2 of 2: loss" in said
    segmodels("evaluate", "pspnet", cwd=tmp_path)
    segmodels("compare", cwd=tmp_path)
    found = json.loads((tmp_path / "reports" / "leaderboard.json").read_text())
    assert [one["name"] for one in found["candidates"]] == ["pspnet"]
    table = segmodels("leaderboard", cwd=tmp_path).stdout
    assert "pspnet" in table
    assert "unet is not ranked: was not scored" in table
    images = str(drawn / "images" / "shapes_00000.png")
    segmodels("predict", images, "--bundle", "bundles/pspnet", cwd=tmp_path)
    assert sorted(os.listdir(tmp_path / "predictions")) == ["shapes_00000.png", "shapes_00000_overlay.png"]


def test_a_checkpoint_that_does_not_fit_is_said_and_no_bundle_is_made(drawn: Path, params_file: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "raw").symlink_to(drawn)
    segmodels("prepare", cwd=tmp_path)
    segmodels("augment", "light", cwd=tmp_path)
    disk = tmp_path / ".segmodels"
    # the weights take 0.6 MB, with the optimizer's moments 1.9 MB
    done = run_on_small_disk("train", "pspnet", cwd=tmp_path, disk=disk, size="1500k", code=1)
    assert [name for name in left(done, disk) if "ckpt" in name] == ["best-1.ckpt"]
    assert not (tmp_path / "bundles").exists()
