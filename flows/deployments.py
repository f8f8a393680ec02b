"""What the worker may run, as Prefect has it: `retrain`, by the clock of params.yaml and on `dataset.changed`."""

import contextlib
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.exceptions import ObjectAlreadyExists
from prefect.schedules import Schedule
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker

from flows import deployed, servers
from segmodels import params
from segmodels.project import PARAMS

CHANGED = "dataset.changed"


def name(project: str) -> str:
    """Of the deployment that retrains in this folder."""
    return f"{project}-{servers.here()}"


def resource(project: str) -> str:
    """What the event `dataset.changed` is about."""
    return f"segmodels.dataset.{project}"


def apply() -> None:
    """Tell Prefect what there is to run here, and when. Doing it twice changes nothing."""
    settings = params.read(PARAMS)
    with get_client(sync_client=True) as client:
        template = ProcessWorker.get_default_base_job_template()
        with contextlib.suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=servers.pool(), type="process", base_job_template=template))
    cron = settings.schedule.cron
    trigger = DeploymentEventTrigger(
        name=f"{name(settings.project)}: the dataset has changed",
        expect={CHANGED},
        match={"prefect.resource.id": resource(settings.project)},
        parameters={"reason": "the dataset has changed, {{ event.payload.digest }}"},
    )
    schedule = (
        None
        if cron is None
        else Schedule(cron=cron, timezone=settings.schedule.timezone, parameters={"reason": deployed.BY_CLOCK})
    )
    deployment = RunnerDeployment.from_flow(
        deployed.retrain,
        entrypoint_type=EntrypointType.MODULE_PATH,
        name=name(settings.project),
        schedule=schedule,
        triggers=[trigger],
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
        work_pool_name=servers.pool(),
        job_variables={"working_dir": str(Path.cwd())},
    )
    deployment.apply()
