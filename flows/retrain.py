"""The flow `retrain`: what has changed is made anew, compared, registered, and promoted if it is better.

Runs on a temporary Prefect server unless PREFECT_API_URL names one. Nothing changed: a few seconds. The demo: see the README.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import allow_failure, flow, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from flows import interruption, pipeline, registry, temporary_server
from flows.pipeline import Stage, StageError
from segmodels import bundle, checkpoints, console, device, locks, params, preflight, tracking
from segmodels.errors import BundleError
from segmodels.params import Params
from segmodels.project import AUGMENTED, BUNDLES, FACTS, LOCKS, PARAMS, PREPARED, RAW, REPORTS


class RetrainError(Exception):
    """Stages failed. Candidates that did not fail have been compared and registered all the same."""


@flow(name="retrain")
def retrain() -> registry.Verdict:
    """prepare -> augment -> train -> evaluate -> compare -> register -> promote, as far as something has changed.

    Raises:
        RetrainError: a stage failed.
    """
    settings = params.read(PARAMS)
    with (
        tracking.retrain_run(settings.project, params=settings.model_dump(mode="json"), dataset=RAW) as run_id,
        interruption.ends_at_once(note=lambda: tracking.killed(run_id)),
    ):
        stages = pipeline.stale(begun_from_files(settings))
        slots = device.slots() if settings.resources.slots == "auto" else settings.resources.slots
        runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=slots)
        in_slots = run_stages.with_options(task_runner=runner)  # type: ignore[arg-type]  # its futures are PrefectFutures
        failures = in_slots(stages, relayed=slots > 1, environment={tracking.PARENT: run_id})
        if "compare" in failures:
            raise RetrainError(_listed(failures))
        leaderboard = read_leaderboard()
        runs = record(settings, leaderboard, run_id)
        verdict = decide(settings, leaderboard, runs)
        publish(leaderboard, verdict, runs)
        tracking.conclude(run_id, reports=REPORTS, verdict=f"{verdict.decision}: {verdict.reason}")
        if failures:
            raise RetrainError(_listed(failures))
    return verdict


@flow(name="stages")
def run_stages(stages: Sequence[Stage], *, relayed: bool, environment: dict[str, str]) -> dict[str, str | None]:
    """Run every stage when those before it are done; returns the others: with the reason, or None where one before it failed.

    A candidate that fails does not stop the others: `compare` waits for all, and ranks those that have been scored.
    """
    pipeline.discard([stage for stage in stages if stage.kind == "evaluate"])
    futures: dict[str, PrefectFuture[None]] = {}
    for stage in stages:
        waits = [_tolerant(futures[name], stage, name) for name in sorted(stage.upstream)]
        futures[stage.name] = pipeline.run_stage.submit(
            stage, relayed=relayed, environment=environment, wait_for=waits, return_state=False
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
def decide(settings: Params, leaderboard: dict[str, Any], runs: dict[str, str]) -> registry.Verdict:
    """Register the candidate that is put forward, and promote it if it passes the gate."""
    best = put_forward(leaderboard)
    return registry.decide(
        settings.project,
        best=best,
        test_sha256=leaderboard["test_sha256"],
        gate=settings.gate.model_dump(),
        bundle_folder=BUNDLES / best["name"],
        prepared=PREPARED,
        run_id=runs[best["name"]],
    )


def publish(leaderboard: dict[str, Any], verdict: registry.Verdict, runs: dict[str, str]) -> None:
    """Show the outcome as artifacts of the flow run."""
    rows = [{key: one[key] for key in ("name", "miou", "pixel_accuracy", "num_parameters")} for one in leaderboard["candidates"]]
    create_table_artifact(rows, key="leaderboard", description=verdict.reason)
    for name, run_id in runs.items():
        address = tracking.address(run_id)
        if address is None:
            text = f"Run `{run_id}` of {name}; `make mlflow` shows it in a browser."
            create_markdown_artifact(text, key=f"mlflow-{name}")
        else:
            create_link_artifact(address, link_text=f"{name} in MLflow", key=f"mlflow-{name}")


def read_leaderboard() -> dict[str, Any]:
    """What `compare` wrote."""
    leaderboard: dict[str, Any] = json.loads((REPORTS / "leaderboard.json").read_text(encoding="utf-8"))
    return leaderboard


def put_forward(leaderboard: dict[str, Any]) -> dict[str, Any]:
    """The entry of the candidate that `compare` chose."""
    [chosen] = [one for one in leaderboard["candidates"] if one["name"] == leaderboard["chosen"]]
    return dict(chosen)


def begun_from_files(settings: Params) -> dict[str, bool]:
    """The trainings that begin from a weights file, of which DVC watches only the name; true where it holds something else by now."""
    found = {}
    for name, candidate in settings.candidates.items():
        if candidate.weights not in (None, "imagenet"):
            now = checkpoints.weights_digest(candidate.weights)
            try:
                then = bundle.read_facts(BUNDLES / name).training["weights"]
            except BundleError:  # there is none to say: that is DVC's to find
                then = now
            # a file that is gone is missed when a training is due that needs it
            found[f"train@{name}"] = now != then and Path(candidate.weights).is_file()
    return found


def unchanged(settings: Params) -> registry.Verdict | None:
    """The verdict that stands when neither the dataset nor anything else that a stage depends on has changed; else None."""
    if pipeline.version_dataset(RAW) or pipeline.stale(begun_from_files(settings)):
        return None
    leaderboard = read_leaderboard()
    best = put_forward(leaderboard)
    key = registry.decision_key(best["bundle_sha256"], leaderboard["test_sha256"], settings.gate.model_dump())
    return registry.decided(settings.project, key)


def main() -> int:
    """`make retrain`. Exit codes: 0 done, or nothing to do; 1 a stage failed; 2 a mistake in the input."""
    with console.explained():
        settings = params.read(PARAMS)
        with locks.held(LOCKS / "retrain", on_wait=lambda: console.say("another retraining runs in this folder; waiting for it")):
            try:
                pipeline.forget_ended()
                outcome = retrain_if_needed(settings)
            except (RetrainError, StageError) as error:
                console.error(str(error))
                return 1
        show(outcome)
    return 0


def retrain_if_needed(settings: Params) -> str:
    """What came out, in a sentence."""
    verdict = unchanged(settings)
    if verdict is not None:
        return f"nothing has changed, nothing to do: {verdict.reason}"
    preflight.check(settings)
    console.say(params.to_yaml(settings))
    temporary_server.start_if_needed()
    verdict = retrain()
    decided = "is the champion" if verdict.decision == "promote" else "is registered, the champion stays"
    return f"models:/{settings.project}/{verdict.version} {decided}: {verdict.reason}"


def show(outcome: str) -> None:
    """Print the leaderboard, the outcome, and where to look further."""
    leaderboard = read_leaderboard()
    best = leaderboard["chosen"]
    program = Path(sys.executable).with_name("segmodels")
    if program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    console.leaderboard(leaderboard)
    console.say(outcome)
    console.say("")
    for command, purpose in (
        (f"{program} predict <image> --bundle {BUNDLES / best}", "masks of your own images, in predictions/"),
        ("make mlflow", "every run's curves, and the registry, in a browser"),
        ("make data SOURCE=<folder> && make retrain", "your own dataset"),
    ):
        console.say(f"  {command:<60} {purpose}")
    shown = (
        REPORTS / "leaderboard.png",
        REPORTS / "pareto.png",
        REPORTS / best / "*.png",
        FACTS / "census.png",
        AUGMENTED / "*" / "preview.png",
    )
    console.say(f"  pictures: {', '.join(map(str, shown))}")


def _listed(failures: dict[str, str | None]) -> str:
    return "; ".join(reason for reason in failures.values() if reason is not None)


if __name__ == "__main__":
    sys.exit(main())
