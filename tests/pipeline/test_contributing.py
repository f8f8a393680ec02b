"""What CONTRIBUTING.md tells a person to do works as it stands there."""

import json
import re
from pathlib import Path

import pytest

from tests.conftest import PARAMS, REPOSITORY, make_project
from tests.pipeline.projects import Project


@pytest.mark.slow
def test_an_architecture_is_one_file_and_one_entry(drawn: Path, tmp_path: Path) -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    found = re.search(
        r"`segmodels/architectures/linear.py`:\n\n```python\n(.*?)```.*?```yaml\ncandidates:\n(.*?)```", text, re.DOTALL
    )
    assert found is not None
    code, entry = found.groups()
    project = Project(make_project(tmp_path / "project", PARAMS.replace("candidates:\n", f"candidates:\n{entry}")))
    (project.folder / "segmodels" / "architectures" / "linear.py").write_text(code)
    own = {"PYTHONPATH": str(project.folder)}  # the program installed here is of the repository
    project.make("data", f"SOURCE={drawn}", environment=own)
    said = project.make("retrain", environment=own)
    assert {one["name"] for one in project.leaderboard["candidates"]} == {"linear", "unet", "pspnet"}
    facts = json.loads((project.folder / "bundles" / "linear" / "bundle.json").read_text())
    assert (facts["architecture"], facts["options"]) == ("linear", {"dropout": 0.1})
    assert "linear: epoch 2 of 2: loss" in said
