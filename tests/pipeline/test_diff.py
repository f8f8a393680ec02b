"""`segmodels diff` over two commits of a real project, with DVC's cache."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

from segmodels import shapes
from tests.conftest import PARAMS, clean_environment, make_project


def run(project: Path, *command: str, code: int = 0) -> str:
    done = subprocess.run(
        command,
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=clean_environment(COLUMNS="200", NO_COLOR="1", PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}"),
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def prepare(project: Path, source: Path, message: str) -> None:
    """Bring a dataset in, prepare it and commit both, as `make data` and `make retrain` do."""
    python = sys.executable
    run(project, python, "-m", "segmodels", "ingest", str(source))
    run(project, python, "-m", "segmodels.environment", "dvc", "add", "-q", "data/raw")
    run(project, python, "-m", "segmodels.environment", "dvc", "repro", "-q", "-s", "prepare")
    run(project, "git", "add", "-A")
    run(project, "git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", message)


def diff(project: Path, *arguments: str, code: int = 0) -> str:
    return run(project, sys.executable, "-c", "from flows.cli import main; main()", "diff", *arguments, code=code)


def test_two_commits_are_compared_and_drawn(drawn: Path, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", PARAMS)
    prepare(project, drawn, "first")
    grown = tmp_path / "grown"
    shutil.copytree(drawn, grown)
    for seed in (1000, 1001):
        made = shapes.draw(size_px=(48, 64), seed=seed)
        Image.fromarray(made.image).save(grown / "images" / f"later_{seed}.png")
        Image.fromarray(made.mask).save(grown / "masks" / f"later_{seed}.png")
    (grown / "images" / "shapes_00000.png").unlink()
    (grown / "masks" / "shapes_00000.png").unlink()
    shutil.copyfile(grown / "masks" / "shapes_00002.png", grown / "masks" / "shapes_00001.png")
    prepare(project, grown, "second")
    said = diff(project, "HEAD~1", "HEAD")
    assert "from HEAD~1 to HEAD:" in said
    assert "2 images added: later_1000, later_1001" in said
    assert "1 images removed: shapes_00000" in said
    assert "1 images relabelled: shapes_00001" in said
    told = json.loads((project / "reports" / "diff" / "diff.json").read_text())
    assert (told["before"], told["added"]) == ("HEAD~1", ["later_1000", "later_1001"])
    with Image.open(project / "reports" / "diff" / "diff.png") as picture:
        assert picture.width > 400
    (project / "reports" / "diff" / "mine.txt").write_text("of somebody else")
    assert "the same images, labels and splits" in diff(project, "HEAD")
    assert (project / "reports" / "diff" / "mine.txt").is_file()
    said = diff(project, "no-such-branch", code=2)
    assert "no-such-branch: is no commit, tag or branch" in said and "Traceback" not in said
    shutil.rmtree(project / ".dvc" / "cache")
    said = diff(project, "HEAD~1", code=2)
    assert (
        "dataset.json of HEAD~1 cannot be had" in said
        and "`dvc fetch` what only a remote has" in said
        and "Traceback" not in said
    )
