"""The flow that the worker runs: by the clock, when the dataset has changed, or when a person asks for it in Prefect."""

import os
import traceback
from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Crashed

from flows import notifications, servers
from flows import retrain as by_hand
from flows.stage_graph import RetrainError
from flows.versioned import StageError
from segmodels import locks, params
from segmodels.errors import InputError
from segmodels.project import LOCKS, PARAMS

LOG_BYTES = 10_000_000
BY_CLOCK, BY_HAND = "by the clock", "by hand, in Prefect"


@flow(name="scheduled-retrain", flow_run_name="retrain: {reason}")
def retrain(reason: str = BY_HAND) -> State[str]:
    """A retraining if something has changed; what came out is what its state says.

    Args:
        reason: why it was started.
    """
    _speak_for_itself()
    locks.hold_for_life(alive(str(flow_run.id)))  # and not only in here: Prefect is told afterwards how it ended
    try:
        settings = params.read(PARAMS)
    except InputError as error:
        notifications.failed(None, str(error), started=reason)
        raise
    try:
        outcome = by_hand.retrain_once(settings, started=reason)
    except (RetrainError, StageError, InputError):
        raise
    except Exception as error:  # a server went away, or the disk is full: the watcher has it begun again
        traceback.print_exc()
        return Crashed(message=f"{type(error).__name__}: {error}")
    return Completed(message=outcome, data=outcome)


def _speak_for_itself() -> None:
    """Write what is said into a log: by itself it would go through the worker, and who writes to one that was killed fails."""
    servers.FOLDER.mkdir(parents=True, exist_ok=True)
    path = servers.FOLDER / "retrain.log"
    if path.is_file() and path.stat().st_size > LOG_BYTES:
        path.replace(path.with_name("retrain.log.1"))
    log = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    for standard in (1, 2):
        os.dup2(log, standard)
    os.close(log)


def alive(run: str) -> Path:
    """The lock that a flow run holds as long as its process lives."""
    return LOCKS / "flow-runs" / run
