"""`make reproduce`: a version made again from its records, whatever has become of the folder since."""

import hashlib
import re
from pathlib import Path

import pytest

from segmodels import shapes
from tests.conftest import PARAMS, make_project
from tests.pipeline.projects import Project


def files_in_cache(project: Project) -> set[str]:
    """The hashes of what DVC holds."""
    cache = project.folder / ".dvc" / "cache" / "files" / "md5"
    return {path.parent.name + path.name for path in cache.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_version_is_made_again_bit_for_bit_after_everything_has_changed(drawn: Path, tmp_path: Path) -> None:
    project = Project(make_project(tmp_path / "project", PARAMS))
    # what was never committed: other values, changed code, and a file that git does not know
    params = project.folder / "params.yaml"
    params.write_text(PARAMS.replace("learning_rate: 0.002", "learning_rate: 0.003").replace("recipe: light", "recipe: none"))
    poly = project.folder / "segmodels" / "schedules" / "poly.py"
    committed = poly.read_text()
    poly.write_text(committed + "\nfrom segmodels import ours\n\nours.note()\n")
    ours = project.folder / "segmodels" / "ours.py"
    ours.write_text("def note() -> None:\n    pass\n")
    project.make("data", f"SOURCE={drawn}")
    project.make("retrain")
    first = files_in_cache(project)
    # then all of it goes
    params.write_text(PARAMS)
    poly.write_text(committed)
    ours.unlink()
    for seed in (5, 6):
        shapes.write(tmp_path / f"other-{seed}", count=24, size_px=(48, 64), seed=seed)
        project.make("data", f"SOURCE={tmp_path / f'other-{seed}'}")
    # nobody needs the dataset of seed 5 any more; the version needs the first, this folder the last
    lost = hashlib.md5(next((tmp_path / "other-5" / "images").iterdir()).read_bytes()).hexdigest()
    assert lost in files_in_cache(project)
    assert "MB are free now" in project.make("clean-cache")
    assert lost not in files_in_cache(project)
    assert first <= files_in_cache(project)
    project.dvc("checkout", "data/raw.dvc")
    # the dataset as somebody changes it by hand, who has not told DVC yet
    image = next((project.folder / "data" / "raw" / "images").iterdir())
    kept = image.read_bytes()
    image.unlink()
    image.write_bytes(kept + b" ")
    assert re.search(r"prepare .*data/raw has changed", project.segmodels("explain"))
    image.write_bytes(kept)
    before = {path: path.read_bytes() for path in (project.folder / "bundles").rglob("*") if path.is_file()}
    said = project.make("reproduce", "VERSION=1")
    assert "the same weights, bit for bit; test mIoU " in said
    then, now = (float(word) for word in said.rsplit("test mIoU ", 1)[1].replace(" then,", "").replace(" now", "").split())
    assert then == now
    # this folder and the registry are as they were
    assert {path: path.read_bytes() for path in (project.folder / "bundles").rglob("*") if path.is_file()} == before
    assert params.read_text() == PARAMS
    assert project.versions() == ["1"]
    assert list((project.folder / ".segmodels" / "reproductions").iterdir()) == []
    assert "VERSION: 7 is none of tiny; there are 1" in project.make("reproduce", "VERSION=7", code=2)
    assert "name the version: make reproduce VERSION=<n>" in project.make("reproduce", code=2)
