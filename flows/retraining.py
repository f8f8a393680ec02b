"""The flow `retrain`: what has changed is made anew, compared, registered, and promoted if it is better."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from prefect import allow_failure, flow, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from flows import explanation, interruption, pipeline, promotion, snapshot, stage_graph
from flows.clones import Elsewhere
from flows.snapshot import Tree
from flows.stage_graph import RetrainError, Stage
from flows.standing import Decision, begun_from_files, put_back, put_forward, read_leaderboard
from segmodels import compared, device, params, tracking
from segmodels.compared import Folders
from segmodels.errors import InputError
from segmodels.params import Params
from segmodels.project import AUGMENTED, BUNDLES, COMPARED, EVALUATED, FACTS, PARAMS, PREPARED, RAW, REPORTS

PRELOADED = (
    "segmodels.prepare",
    "segmodels.augment",
    "segmodels.train",
    "segmodels.evaluate",
    "segmodels.compare",
    "segmodels.decisions",
    "segmodels.progress",
    "segmodels.tracking",
    "segmentation_models_pytorch",
)
"""What stages import, and takes them seconds."""


@flow(name="retrain", flow_run_name="retraining, started {started}")
def retrain(started: str) -> Decision:
    """prepare -> augment -> train -> evaluate -> compare -> register -> promote, as far as something has changed.

    Args:
        started: why, for people who look at its run later.

    Raises:
        RetrainError: a stage failed.
    """
    settings = params.read(PARAMS)
    with (
        tracking.retrain_run(settings.project, params=settings.model_dump(mode="json"), dataset=RAW, started=started) as run_id,
        interruption.ends_at_once(note=lambda: tracking.killed(run_id)),
    ):
        made_from = snapshot.taken()
        put_back(settings.project)  # before hours of training: it is served meanwhile
        stages = stage_graph.stale(begun_from_files(settings))
        explanation.note(stages, started=started, now=datetime.now(UTC))
        began = time.time()
        failures = _ran(settings, stages, run_id)
        tracking.note_stages(run_id, _told(stages, failures, stage_graph.durations(since=began)))
        if "compare" in failures:
            evaluations = {stage.name for stage in stages if stage.kind == "evaluate"}
            if evaluations and evaluations <= failures.keys():  # then there was nothing to compare
                del failures["compare"]
            raise RetrainError(_listed(failures))
        leaderboard = read_leaderboard()
        compared.keep(Folders(PREPARED, EVALUATED, REPORTS, FACTS), COMPARED)
        runs = record(settings, leaderboard, run_id)
        decision = decide(settings, leaderboard, runs, made_from)
        publish(leaderboard, decision, runs)
        tracking.conclude(run_id, reports=REPORTS, prepared=PREPARED, verdict=f"{decision.outcome}: {decision.reason}")
        if failures:
            raise RetrainError(_listed(failures))
    return decision


def _told(stages: Sequence[Stage], failures: dict[str, str | None], took: dict[str, float]) -> dict[str, dict[str, Any]]:
    """Of each stage why it was due, how many seconds it took (None: DVC had its results), and whether it failed."""
    return {
        stage.name: {
            "why": explanation.reason(stage),
            "seconds": took.get(stage.name),
            "failed": stage.name in failures,
        }
        for stage in stages
    }


def _ran(settings: Params, stages: Sequence[Stage], run_id: str) -> dict[str, str | None]:
    """Run the stages on this machine or others; returns those that did not run to their end."""
    environment, elsewhere = {tracking.PARENT: run_id}, None
    if settings.resources.engine == "ray" and any(stage.kind == "train" for stage in stages):
        files = [name.partition("@")[2] for name in begun_from_files(settings)]
        if files:
            raise InputError(
                f"resources.engine: ray: {', '.join(files)} would begin from a weights file, which no node has; take `engine: local`"
            )
        from flows.ray_engine import Cluster

        devices = {name: settings.training_of(name).devices for name in settings.candidates}
        elsewhere = Cluster(settings.resources.address, devices)
        slots = len(settings.candidates)  # those that find no node free wait in the cluster
    else:
        slots = stage_graph.slots(settings)
        environment |= share_of_cores(settings)
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=slots)
    in_slots = run_stages.with_options(task_runner=runner)  # type: ignore[arg-type]  # its futures are PrefectFutures
    return in_slots(stages, relayed=slots > 1, environment=environment, elsewhere=elsewhere)


def share_of_cores(settings: Params) -> dict[str, str]:
    """The variables by which stages that run at once share this machine."""
    return device.share_of_cores(stage_graph.slots(settings))


@flow(name="stages", flow_run_name="stages", validate_parameters=False)
def run_stages(
    stages: Sequence[Stage], *, relayed: bool, environment: dict[str, str], elsewhere: Elsewhere | None
) -> dict[str, str | None]:
    """Run every stage when those before it are done; returns the others: with the reason, or None where one before it failed.

    A candidate that fails does not stop the others: `compare` waits for all, and ranks those that have been scored.
    """
    pipeline.discard([stage for stage in stages if stage.kind == "evaluate"])
    futures: dict[str, PrefectFuture[None]] = {}
    for stage in stages:
        waits = [_tolerant(futures[name], stage, name) for name in sorted(stage.upstream)]
        futures[stage.name] = pipeline.run_stage.submit(
            stage, relayed=relayed, environment=environment, elsewhere=elsewhere, wait_for=waits, return_state=False
        )
    failures: dict[str, str | None] = {}
    for name, future in futures.items():
        future.wait()
        if not future.state.is_completed():
            # a stage that waits for a failed one stays pending
            failures[name] = str(future.state.result(raise_on_failure=False)) if future.state.is_final() else None
    return failures


def _tolerant(future: PrefectFuture[None], stage: Stage, upstream: str) -> Any:
    """What a stage waits for; that one candidate failed does not keep `compare` from the others."""
    return allow_failure(future) if stage.kind == "compare" and upstream.startswith("evaluate@") else future


@task(cache_policy=NO_CACHE, persist_result=False)
def record(settings: Params, leaderboard: dict[str, Any], parent: str) -> dict[str, str]:
    """Complete every ranked candidate's run in MLflow; returns the runs' ids by candidate."""
    return {
        one["name"]: tracking.record(
            settings.project,
            one["name"],
            dataset=RAW,
            reports=REPORTS / one["name"],
            pictures=AUGMENTED / settings.candidate(one["name"]).augmentation,
            parent=parent,
        )
        for one in leaderboard["candidates"]
    }


@task(cache_policy=NO_CACHE, persist_result=False)
def decide(settings: Params, leaderboard: dict[str, Any], runs: dict[str, str], made_from: Tree | None) -> Decision:
    """Register the candidate that is put forward, and promote it if it passes the gate."""
    best = put_forward(leaderboard)
    return promotion.decide(
        promotion.Case(
            settings.project,
            best=best,
            test_sha256=leaderboard["test_sha256"],
            settings=settings.gate.model_dump(),
            bundle_folder=BUNDLES / best["name"],
            prepared=PREPARED,
            counted=EVALUATED / best["name"],
            reports=REPORTS,
            run_id=runs[best["name"]],
            made_from=made_from,
            today=datetime.now(UTC).date(),
        )
    )


def publish(leaderboard: dict[str, Any], decision: Decision, runs: dict[str, str]) -> None:
    """Show the outcome as artifacts of the flow run."""
    rows = [{key: one[key] for key in ("name", "miou", "pixel_accuracy", "num_parameters")} for one in leaderboard["candidates"]]
    create_table_artifact(rows, key="leaderboard", description=decision.reason)
    create_markdown_artifact((REPORTS / "promotion.md").read_text(encoding="utf-8"), key="promotion", description=decision.reason)
    for name, run_id in runs.items():
        address = tracking.address(run_id)
        if address is None:
            text = f"Run `{run_id}` of {name}; `make mlflow` shows it in a browser."
            create_markdown_artifact(text, key=f"mlflow-{name}")
        else:
            create_link_artifact(address, link_text=f"{name} in MLflow", key=f"mlflow-{name}")


def _listed(failures: dict[str, str | None]) -> str:
    return "; ".join(reason for reason in failures.values() if reason is not None)
