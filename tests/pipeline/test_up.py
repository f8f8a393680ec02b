"""`make up` and `make down`: retraining by the clock and on new data, on real servers."""

import shutil
import time
from pathlib import Path

import pytest

from segmodels import shapes
from tests.conftest import PARAMS
from tests.pipeline.stacks import Stack, stack

WATCHED = PARAMS + "schedule: {cron: null, watch_seconds: 1}\n"
BY_CLOCK = PARAMS + 'schedule: {cron: "* * * * *", watch_seconds: null}\n'
LONG = WATCHED.replace("epochs: 2", "epochs: 5000")


@pytest.mark.slow
def test_new_data_is_retrained_on_and_what_came_out_is_told(drawn: Path, tmp_path: Path) -> None:
    with stack(tmp_path / "project", WATCHED) as servers:
        said = servers.up()
        assert f"http://127.0.0.1:{servers.ports['mlflow']}" in said
        assert "whether the dataset has changed" in said
        assert "they run already" in servers.up()
        servers.project.make("data", f"SOURCE={drawn}")
        [first] = servers.wait(servers.outcomes)
        assert (first["event"], first["project"]) == ("promoted", "tiny")
        assert first["started"].startswith("the dataset has changed, ")
        servers.wait(lambda: [one["state_name"] for one in servers.runs()] == ["Completed"])
        # by hand, on the same servers
        assert "nothing has changed, nothing to do" in servers.project.make("retrain")
        more = tmp_path / "more"
        shutil.copytree(drawn, more)
        shapes.write(tmp_path / "new", count=20, size_px=(48, 64), seed=9)
        for path in (tmp_path / "new").rglob("*.png"):
            shutil.copy(path, more / path.parent.name / f"new-{path.name}")
        servers.project.make("data", f"SOURCE={more}")
        servers.wait(lambda: len(servers.outcomes()) == 2)
        servers.wait(lambda: [one["state_name"] for one in servers.runs()] == ["Completed", "Completed"])
        assert servers.project.versions() == ["1", "2"]
        assert "ended" in servers.down()
        assert servers.processes() == []
        assert "nothing ran" in servers.down()


@pytest.mark.slow
def test_the_clock_starts_it_and_a_port_that_is_taken_is_said(drawn: Path, tmp_path: Path) -> None:
    with stack(tmp_path / "project", BY_CLOCK) as servers:
        servers.project.make("data", f"SOURCE={drawn}")
        servers.up()
        servers.wait(lambda: servers.runs() and servers.runs()[0]["state_name"] == "Completed")
        assert servers.runs()[0]["parameters"] == {"reason": "by the clock"}
        assert [one["event"] for one in servers.outcomes()] == ["promoted"]
        servers.wait(lambda: len(servers.runs()) > 1 and servers.runs()[1]["state_name"] == "Completed")  # a minute later
        assert servers.runs()[1]["state"]["message"].startswith("nothing has changed, nothing to do")
        other = Path(shutil.copytree(servers.project.folder, tmp_path / "other", ignore=shutil.ignore_patterns(".segmodels")))
        said = type(servers.project)(other).make("up", code=2)
        assert f"servers.mlflow_port: something else listens at port {servers.ports['mlflow']}" in said
        servers.down()


@pytest.mark.slow
def test_cancelling_ends_the_training_and_frees_its_place(drawn: Path, tmp_path: Path) -> None:
    with stack(tmp_path / "project", LONG) as servers:
        servers.up()
        servers.project.make("data", f"SOURCE={drawn}")
        servers.wait(lambda: is_training(servers))
        [run] = servers.runs()
        servers.cancel(run)
        servers.wait(lambda: not servers.processes("segmodels train"), seconds=90)
        servers.wait(lambda: servers.runs()[0]["state_name"] == "Cancelled", seconds=90)
        time.sleep(10)  # the watcher looks every second
        assert len(servers.runs()) == 1  # a person wanted it to end: it is not begun again
        servers.down()
        assert servers.processes() == []


def is_training(servers: Stack) -> bool:
    """Whether an epoch has ended."""
    return any((servers.project.folder / ".segmodels" / "progress").glob("*.json"))
