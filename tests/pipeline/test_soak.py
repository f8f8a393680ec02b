"""What is killed while it retrains costs nothing but time: faults at random, from a seed (soak.py)."""

from pathlib import Path

import pytest

from tests.pipeline.soak import SOAKED, soak
from tests.pipeline.stacks import stack


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_whatever_is_killed_nothing_is_lost_or_doubled(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    faults = int(pytestconfig.getoption("--faults"))
    with stack(tmp_path / "project", SOAKED) as servers:
        tally = soak(servers, tmp_path, faults=faults, seed=int(pytestconfig.getoption("--seed")), gap_s=8.0)
        servers.down()
        assert servers.processes() == []
    assert tally.total() - tally["datasets"] == faults
