"""Candidates on the nodes of a Ray cluster: three machines that share nothing but the remote, one of which is lost."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import PARAMS, clean_environment, make_project
from tests.pipeline.projects import Project

EPOCHS = 300
ON_RAY = PARAMS.replace("epochs: 2", f"epochs: {EPOCHS}") + "resources: {engine: ray, address: 'ADDRESS'}\n"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Any]:
    """A head, which takes no candidates, and two nodes with folders of their own."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for name in ("one", "two"):
        made.add_node(num_cpus=1, env_vars={"SEGMODELS_NODE": str(tmp_path / name)})
    yield made
    made.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_candidate_whose_node_is_lost_goes_on_elsewhere_from_its_checkpoint(cluster: Any, drawn: Path, tmp_path: Path) -> None:
    project = Project(make_project(tmp_path / "project", ON_RAY.replace("ADDRESS", cluster.address)))
    project.dvc("remote", "add", "--default", "storage", str(tmp_path / "storage"))
    project.make("data", f"SOURCE={drawn}")
    environment = clean_environment(PYTHONUNBUFFERED="1", NO_COLOR="1", OMP_NUM_THREADS="1", RAY_DEDUP_LOGS="0")
    log, checkpoints = tmp_path / "said", project.folder / ".segmodels" / "checkpoints"
    command = [sys.executable, "-m", "flows.retrain"]
    with (
        log.open("w") as said,
        subprocess.Popen(command, cwd=project.folder, stdout=said, stderr=said, env=environment) as retrain,
    ):
        try:

            def trained_and_sent() -> str | None:
                """A candidate that has trained for some epochs, and whose checkpoint is on this machine."""
                assert retrain.poll() is None, log.read_text()
                sent = (path.parent.name for path in checkpoints.glob("*/elsewhere.tar"))
                return next((name for name in sent if epochs(log, name) >= 20), None)

            candidate = waited(trained_and_sent)
            before = epochs(log, candidate)
            assert before < EPOCHS / 2
            [lost] = [name for name in ("one", "two") if any((tmp_path / name).glob(f"{candidate}-*"))]
            node = next(one for one in cluster.worker_nodes if f"/{lost}" in str(one._ray_params.env_vars))
            cluster.remove_node(node, allow_graceful=False)
            waited(lambda: not working_in(tmp_path / lost))  # what it started ends with it
            shutil.rmtree(tmp_path / lost)  # with its disk
            assert retrain.wait(600) == 0, log.read_text()
        finally:
            retrain.kill()
    text = log.read_text()
    assert "models:/tiny/1 is the champion" in text
    assert sorted(one["name"] for one in project.leaderboard["candidates"]) == ["pspnet", "unet"]
    for name in ("unet", "pspnet"):
        # what was trained before the node was lost was not trained again, but for what its last checkpoint did not have
        told = [int(number) for number in re.findall(rf"{name}: epoch (\d+) of", text)]
        assert sorted(set(told)) == list(range(1, EPOCHS + 1))
        assert len(told) < EPOCHS + before
        assert told.count(1) == 1
    assert len(re.findall(rf"{candidate}: epoch {EPOCHS} of", text)) == 1
    assert not (tmp_path / lost).exists()
    [other] = {"one", "two"} - {lost}
    assert not any((tmp_path / other).glob(f"{candidate}-*"))  # the clone is gone again
    # here nothing was trained, and nothing is due
    assert "nothing has changed, nothing to do" in project.make("retrain")


def epochs(log: Path, candidate: str) -> int:
    return len(re.findall(rf"{candidate}: epoch \d+ of", log.read_text()))


def working_in(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def waited(for_what: Callable[[], Any]) -> Any:
    """Until it is true of something; returns that."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        if found := for_what():
            return found
        time.sleep(0.2)
    raise AssertionError("it did not come to that")
