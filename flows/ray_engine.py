"""Candidates trained and scored on the nodes of a Ray cluster, with no shared disk: code goes as a git bundle, data by DVC's remote."""

import logging
import os
import signal
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from flows import clones, ray_node, snapshot, versioned
from flows.versioned import StageError
from segmodels import tracking
from segmodels.errors import InputError
from segmodels.project import CHECKPOINTS

LOOKS_S = 60.0
"""How often it is looked whether a node that a candidate waits for can still come."""
_CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


class Cluster:
    """A cluster that is joined, and what every candidate needs there.

    Args:
        devices: how many GPUs train each candidate together.

    Raises:
        InputError: there is no cluster at the address, or no remote that its nodes could reach.
    """

    def __init__(self, address: str, devices: Mapping[str, int]) -> None:
        self._config, self._devices = versioned.remote_config(), devices
        handler = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=address, log_to_driver=True, logging_level=logging.WARNING)
        except (ConnectionError, ValueError, RuntimeError, RayError) as error:
            remedy = "start one with `ray start --head`"
            raise InputError(f"resources.address: there is no Ray cluster at {address!r} ({error}); {remedy}") from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(
                    signal.SIGTERM, handler
                )  # Prefect's, which Ray replaces: it says how a flow that is ended has ended
        ray.cloudpickle.register_pickle_by_value(ray_node)  # nodes have no copy of the project
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        remote: Any = ray.remote  # its types know no options that are computed
        keeper = remote(num_cpus=0, scheduling_strategy=here, max_restarts=-1, max_task_retries=-1)(ray_node.Checkpoints)
        self._checkpoints = keeper.remote(str(CHECKPOINTS.resolve()))
        # tried again by the flow, which counts: Ray would try one that runs out of memory for ever
        self._work = remote(max_retries=0)(ray_node.work)
        self._one_at_a_time = threading.Lock()

    def make(self, candidate: str, environment: dict[str, str]) -> None:
        """Have a node train and score a candidate; its results are on the remote then.

        Raises:
            StageError: it failed, its node was lost, or no node has what it needs.
        """
        name = f"train@{candidate}"
        with self._one_at_a_time:
            clones.push_inputs(candidate)
            repository = snapshot.bundled()  # now: dvc.lock says what has been prepared
        needs = _needs(self._devices[candidate])
        asked = self._work.options(**needs).remote(
            candidate, repository, snapshot.REFERENCE, self._config, environment | _records(), self._checkpoints
        )
        try:
            while not ray.wait([asked], timeout=LOOKS_S)[0]:
                if not any(all(node.get(what, 0) >= much for what, much in _resources(needs).items()) for node in _nodes()):
                    raise StageError(name, f"no node of the cluster has {_resources(needs)}", mistake=True, killed=False)
            failed: str | None = ray.get(asked)
        except RayTaskError as error:
            raise StageError(name, f"its node cannot do it: {error.cause}", mistake=False, killed=False) from error
        except RayError as error:
            raise StageError(name, f"its node was lost: {error}", mistake=False, killed=True) from error
        if failed is not None:
            *said, code = filter(None, failed.splitlines())
            reason = said[-1].removeprefix(f"{name}: ") if said else code
            mistake, killed = (bool(one.search(failed)) for one in (versioned.MISTAKE, versioned.KILLED))
            raise StageError(name, reason, mistake=mistake, killed=killed)


def _records() -> dict[str, str]:
    """Where a node writes its records: to a server that it can reach, else into its clone; they are made here afterwards then."""
    if not tracking.is_served() or urlsplit(tracking.uri()).hostname in ("localhost", "127.0.0.1", "::1"):
        return {tracking.VARIABLE: tracking.DEFAULT_URI}
    return {tracking.VARIABLE: tracking.uri()} | {one: os.environ[one] for one in _CREDENTIALS if one in os.environ}


def _nodes() -> list[dict[str, float]]:
    """What each node has that takes work."""
    return [one["Resources"] for one in ray.nodes() if one["Alive"] and one["Resources"].get("CPU", 0) > 0]


def _resources(needs: Mapping[str, float]) -> dict[str, float]:
    """By Ray's own names."""
    return {"CPU": needs["num_cpus"]} | ({"GPU": needs["num_gpus"]} if "num_gpus" in needs else {})


def _needs(devices: int) -> dict[str, float]:
    """What a candidate takes: its GPUs, and their share of a node's cores; where there is no GPU in the cluster, a whole machine."""
    nodes = _nodes()
    with_gpus = [one for one in nodes if one.get("GPU", 0) > 0]
    if with_gpus:
        return {"num_gpus": devices, "num_cpus": devices * max(1, min(int(one["CPU"] // one["GPU"]) for one in with_gpus))}
    return {"num_cpus": min((int(one["CPU"]) for one in nodes), default=1)}
