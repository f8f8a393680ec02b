"""Sees that the dataset has changed, and that a retraining was cut short, and has Prefect start another.

A dataset counts as changed when it is not the one that was trained on last, and nobody has written to it between two looks.
"""

import hashlib
import itertools
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events import emit_event
from prefect.exceptions import PrefectException
from prefect.states import Cancelled, Crashed

from flows import deployed, deployments, notifications, servers, versioned
from segmodels import atomic, console, locks, params
from segmodels.errors import InputError
from segmodels.params import Params
from segmodels.project import PARAMS, RAW, WORK

_TOLD = WORK / "watched"
"""The dataset that Prefect was told of last."""
_GAVE_UP = WORK / "gave_up"
"""The last of the retrainings that were cut off so often that people were told."""
LOOKS_S = 15.0
"""How often retrainings that were cut off are looked for, at least."""
STARTS_S = {StateType.PENDING: 180.0, StateType.RUNNING: 30.0, StateType.CANCELLING: 60.0}
"""How long a flow run may be in a state without holding its lock, as it is started, or be cancelled and hold it."""
ATTEMPTS = 5
"""So many retrainings in a row may be cut off before a person has to look."""
_APPEARS_S = 30.0


def watch() -> None:
    """Look for ever, as often as params.yaml says."""
    dataset, looks_next = Watch(), 0.0
    while True:
        every: float | None = None
        try:
            settings = params.read(PARAMS)
            every = settings.schedule.watch_seconds
            with get_client(sync_client=True) as client:
                go_on(client, settings)
                if every is not None and time.monotonic() >= looks_next:
                    looks_next = time.monotonic() + every
                    dataset.look(client, settings.project)
        except (httpx.HTTPError, PrefectException, InputError, OSError) as error:  # it may be otherwise next time
            console.error(f"watcher: {error or type(error).__name__}")
        time.sleep(min(every or LOOKS_S, LOOKS_S))


def go_on(client: SyncPrefectClient, settings: Params) -> None:
    """Say of retrainings whose process is no more that they have ended, and start another for one that was cut off.

    After `ATTEMPTS` in a row people are told instead.
    """
    project = settings.project
    begun = _begun(client, project)
    for run in begun:
        if not _is_late(run):
            continue
        if run.state_type == StateType.CANCELLING:  # the worker that could have ended it was killed
            servers.end_flow_run(str(run.id))
        if not _has_ended(run):
            continue
        ended: State[Any] = Cancelled() if run.state_type == StateType.CANCELLING else Crashed(message="its process ended")
        # Prefect refuses it where the run has told meanwhile how it ended
        if client.set_flow_run_state(run.id, ended).status == SetStateStatus.ACCEPT:
            console.say(f"{run.name}: {ended.name}, its process ended")
    _forget_locks({str(run.id) for run in begun if run.state_type in STARTS_S})
    latest = _begun(client, project)[:ATTEMPTS]
    cut_off = list(itertools.takewhile(lambda one: one.state_type == StateType.CRASHED, latest))
    if len(cut_off) == ATTEMPTS:
        _give_up(settings, cut_off[0])
    elif cut_off and not _waiting(client, project):
        again = client.create_flow_run_from_deployment(
            client.read_deployment_by_name(f"{deployed.retrain.name}/{deployments.name(project)}").id,
            parameters={"reason": "as the one before was cut off"},
        )
        console.say(f"{again.name}: the one before was cut off")


def _give_up(settings: Params, run: FlowRun) -> None:
    """Tell once that nothing is begun again."""
    if _GAVE_UP.is_file() and _GAVE_UP.read_text(encoding="utf-8") == str(run.id):
        return
    why = run.state.message if run.state is not None else None
    notifications.failed(
        settings, f"{ATTEMPTS} in a row were cut off, the last as: {why}; a person has to look", started="again and again"
    )
    atomic.write_text(_GAVE_UP, str(run.id))


def _begun(client: SyncPrefectClient, project: str) -> list[FlowRun]:
    """The runs that do not wait any more, the last to begin first."""
    begun: list[StateType] = [one for one in StateType if one != StateType.SCHEDULED]
    return _runs(client, project, begun, FlowRunSort.START_TIME_DESC)


def _waiting(client: SyncPrefectClient, project: str) -> list[FlowRun]:
    """The runs that wait for a worker, but for those that the clock will start later."""
    now = datetime.now(UTC)
    found = _runs(client, project, [StateType.SCHEDULED], FlowRunSort.EXPECTED_START_TIME_ASC)
    return [one for one in found if not one.auto_scheduled or (one.expected_start_time or now) <= now]


def _runs(client: SyncPrefectClient, project: str, states: list[StateType], sort: FlowRunSort) -> list[FlowRun]:
    return client.read_flow_runs(
        deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[deployments.name(project)])),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states))),
        sort=sort,
        limit=50,
    )


def _is_late(run: FlowRun) -> bool:
    """Whether a flow run goes on by its record, and has for longer than it takes to begin or to be cancelled."""
    if run.state is None or run.state.type not in STARTS_S:
        return False
    return datetime.now(UTC) - run.state.timestamp >= timedelta(seconds=STARTS_S[run.state.type])


def _has_ended(run: FlowRun) -> bool:
    """Whether its process is no more."""
    with locks.held_if_free(deployed.alive(str(run.id))) as free:
        return free


def _forget_locks(going_on: set[str]) -> None:
    """Remove the locks of runs that have ended."""
    folder = deployed.alive("")
    for path in folder.iterdir() if folder.is_dir() else ():
        with locks.held_if_free(path) as free:
            if free and path.name not in going_on:
                path.unlink()


class Watch:
    """The dataset as it was when it was looked at."""

    def __init__(self) -> None:
        self._listed: str | None = None
        self._known: str | None = None

    def look(self, client: SyncPrefectClient, project: str) -> None:
        """Emit `dataset.changed` if it has, and see that a retraining comes of it."""
        listed = _listing(RAW)
        settled, self._listed = listed == self._listed, listed
        if listed is None or not settled or listed == self._known:
            return
        digest = versioned.dataset_hash(RAW)
        if digest == versioned.trained_on(RAW):
            _TOLD.unlink(missing_ok=True)  # whatever comes next is another, be it one that was told of before
        elif digest != _told():
            self._tell(client, project, digest)
        self._known = listed

    def _tell(self, client: SyncPrefectClient, project: str, digest: str) -> None:
        console.say(f"{RAW} has changed: {digest}")
        emit_event(
            deployments.CHANGED, resource={"prefect.resource.id": deployments.resource(project)}, payload={"digest": digest}
        )
        end = time.monotonic() + _APPEARS_S
        while not any(
            digest in str(one.parameters.get("reason")) for one in [*_begun(client, project), *_waiting(client, project)]
        ):
            if time.monotonic() > end:
                raise InputError(f"Prefect started nothing for {deployments.CHANGED}; it is told again")
            time.sleep(0.5)
        atomic.write_text(_TOLD, digest)


def _told() -> str | None:
    return _TOLD.read_text(encoding="utf-8") if _TOLD.is_file() else None


def _listing(folder: Path) -> str | None:
    """The names, sizes and times of all files, as one hash; None where there is no dataset."""
    if not folder.is_dir():
        return None
    found = hashlib.sha256()
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(parent) / name
            status = path.lstat()
            found.update(repr((os.fsencode(path), status.st_size, status.st_mtime_ns)).encode())
    return found.hexdigest()
