"""The flow that the worker runs: by the clock, when the dataset has changed, or when a person asks for it in Prefect."""

from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from flows import retrain as by_hand
from segmodels import locks, params
from segmodels.project import LOCKS, PARAMS

BY_CLOCK, BY_HAND = "by the clock", "by hand, in Prefect"


@flow(name="scheduled-retrain", flow_run_name="retrain: {reason}")
def retrain(reason: str = BY_HAND) -> State[str]:
    """A retraining if something has changed; what came out is what its state says.

    Args:
        reason: why it was started.
    """
    with locks.held(alive(str(flow_run.id))):
        outcome = by_hand.retrain_once(params.read(PARAMS), started=reason)
    return Completed(message=outcome, data=outcome)


def alive(run: str) -> Path:
    """The lock that a flow run holds as long as its process lives."""
    return LOCKS / "flow-runs" / run
