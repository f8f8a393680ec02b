"""At whichever write a promotion or a training is killed, or the disk is full or broken, it ends as if nothing had happened (every_write.py)."""

from pathlib import Path

import pytest

from tests.pipeline.every_write import FAULTS, operation_of, struck


@pytest.mark.slow
@pytest.mark.parametrize("name", ["promotion", "training"])
def test_whichever_write_fails_nothing_is_lost(tmp_path: Path, drawn: Path, pytestconfig: pytest.Config, name: str) -> None:
    every, seed = int(pytestconfig.getoption("--every")), int(pytestconfig.getoption("--seed"))
    operation = operation_of(name, tmp_path, drawn)
    found = list(struck(operation, tmp_path, lambda place: place % every == (seed + 20) % every, FAULTS))
    assert len(found) >= 3
