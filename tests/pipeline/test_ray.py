"""Candidates on the nodes of a Ray cluster: three machines that share nothing but the remote, one of which is lost."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    environment = clean_environment(PYTHONUNBUFFERED="1", NO_COLOR="1", OMP_NUM_THREADS="1")
    log = tmp_path / "said"
    with log.open("w") as said:
        retrain = subprocess.Popen(
            [sys.executable, "-m", "flows.retrain"], cwd=project.folder, stdout=said, stderr=subprocess.STDOUT, env=environment
        )
        victim = wait_for_epochs(tmp_path, log, retrain)
        node = next(one for one in cluster.worker_nodes if victim.name in str(one._ray_params.env_vars))
        cluster.remove_node(node, allow_graceful=False)
        shutil.rmtree(victim)  # with its disk
        assert retrain.wait(600) == 0, log.read_text()
    text = log.read_text()
    assert "models:/tiny/1 is the champion" in text
    assert sorted(one["name"] for one in project.leaderboard["candidates"]) == ["pspnet", "unet"]
    for name in ("unet", "pspnet"):
        # what was trained before the node was lost was not trained again, but for what its last checkpoint did not have
        assert text.count(f"{name}: epoch 1 of {EPOCHS}") == 1
        assert len(project.weights(name)) > 1000
    assert not any((tmp_path / "two").glob("unet-*")) and not any((tmp_path / "two").glob("pspnet-*"))
    # here nothing was trained, and nothing is due
    assert "nothing has changed, nothing to do" in project.make("retrain")


def wait_for_epochs(folder: Path, log: Path, process: Any) -> Path:
    """Until a node has trained some epochs and its checkpoint is elsewhere; returns the node's folder."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        for name in ("one", "two"):
            if any((folder / name).rglob("last.ckpt")):
                time.sleep(6)
                return folder / name
        time.sleep(0.2)
    raise AssertionError(log.read_text())
