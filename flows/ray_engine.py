"""Candidates trained and scored on the nodes of a Ray cluster, with no shared disk: code goes as a git bundle, data by DVC's remote."""

import logging
import threading
from typing import Any

import ray
from ray.exceptions import RayError

from flows import clones, ray_node, snapshot, versioned
from flows.versioned import StageError
from segmodels import tracking
from segmodels.errors import InputError

RETRIES = 5
"""How many nodes a candidate may lose."""
_HEAD = {"node:__internal_head__": 0.001}


class Cluster:
    """A cluster that is joined, and what every candidate needs there.

    Raises:
        InputError: there is no cluster at the address, or no remote that its nodes could reach.
    """

    def __init__(self, address: str) -> None:
        self._config = versioned.remote_config()
        try:
            ray.init(address=address, log_to_driver=True, logging_level=logging.WARNING)
        except (ConnectionError, ValueError, RuntimeError) as error:
            remedy = "start one with `ray start --head`"
            raise InputError(f"resources.address: there is no Ray cluster at {address!r} ({error}); {remedy}") from error
        ray.cloudpickle.register_pickle_by_value(ray_node)  # nodes have no copy of the project
        self._one_at_a_time = threading.Lock()
        remote: Any = ray.remote  # its types know no options that are computed
        self._checkpoints = remote(num_cpus=0, resources=_HEAD)(ray_node.Checkpoints).remote()
        self._work = remote(max_retries=RETRIES, **_needs())(ray_node.work)

    def make(self, candidate: str, environment: dict[str, str]) -> None:
        """Have a node train and score a candidate; its results are on the remote then.

        Raises:
            StageError: it failed, or too many nodes were lost.
        """
        with self._one_at_a_time:
            clones.push_inputs(candidate)
            repository = snapshot.bundled()  # now: dvc.lock says what has been prepared
        if tracking.is_served():
            environment = environment | {tracking.VARIABLE: tracking.uri()}
        asked = self._work.remote(candidate, repository, snapshot.REFERENCE, self._config, environment, self._checkpoints)
        try:
            failed: str | None = ray.get(asked)
        except RayError as error:
            raise StageError(f"train@{candidate}", f"its node was lost: {error}", mistake=False, killed=True) from error
        if failed is not None:
            reason = failed.strip().splitlines()[-1]
            raise StageError(f"train@{candidate}", reason, mistake=bool(versioned.MISTAKE.search(failed)), killed=False)


def _needs() -> dict[str, float]:
    """What a candidate takes: a GPU; where there is none in the cluster, a whole machine."""
    nodes = [one["Resources"] for one in ray.nodes() if one["Alive"]]
    if any("GPU" in one for one in nodes):
        return {"num_gpus": 1, "num_cpus": 1}
    return {"num_cpus": min(int(one.get("CPU", 1)) for one in nodes)}
