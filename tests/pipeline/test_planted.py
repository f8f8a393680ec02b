"""The tests of recovery are tested: bugs that are planted into a copy of the project (planted.py) are caught by them."""

from pathlib import Path

import pytest

from tests.pipeline.planted import BUGS, every


@pytest.mark.slow
def test_every_planted_bug_is_caught(tmp_path: Path) -> None:
    found = {bug.what: is_caught for bug, is_caught in every(tmp_path)}
    assert found == {bug.what: True for bug in BUGS}
