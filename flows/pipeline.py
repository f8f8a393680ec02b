"""DVC stages as Prefect tasks."""

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE

from flows import versioned
from flows.clones import Elsewhere
from flows.stage_graph import Stage
from flows.versioned import StageError
from segmodels import atomic
from segmodels.project import CHECKPOINTS, DURATIONS, FETCHED, PROGRESS, RAN

ATTEMPTS, ATTEMPTS_KILLED = 2, 6
"""How often a stage is tried that fails, and one that is killed."""


@task(
    task_run_name="{stage.name}",
    cache_policy=NO_CACHE,  # what it reads are files, which Prefect cannot see
    persist_result=False,
    retries=ATTEMPTS_KILLED - 1,
    retry_delay_seconds=5,
    retry_condition_fn=lambda _task, run, state: _is_worth_it(run.run_count, state),
)
def run_stage(stage: Stage, *, relayed: bool, environment: dict[str, str], elsewhere: Elsewhere | None = None) -> None:
    """Run one stage, if DVC does not find that nothing has changed.

    Args:
        relayed: pass the output on line by line, as is needed when several stages share the terminal; else a stage has the
            terminal to itself, with live progress bars.
        environment: what differs from run to run, and is no part of what the stage depends on.
        elsewhere: other machines, which train and score; here their results are only fetched.

    Raises:
        StageError: it failed.
    """
    options = stage.options
    if elsewhere is not None and stage.candidate is not None:
        options = (*options, "--pull")
        if stage.kind == "train":
            elsewhere.make(stage.candidate, environment)
        environment = environment | {FETCHED: stage.name}
    watched = _watched(str(stage.candidate)) if stage.kind == "train" else contextlib.nullcontext()
    with watched, _timed(stage.name) as ran:
        versioned.run("repro", "-s", *options, stage.name, relayed=relayed, environment=environment | ran)
    if stage.kind == "train":  # the bundle is in DVC's cache: nothing is left to resume
        shutil.rmtree(CHECKPOINTS / str(stage.candidate), ignore_errors=True)


@contextlib.contextmanager
def _timed(name: str) -> Iterator[dict[str, str]]:
    """Note what a stage took; yields variables for it. One whose results DVC had already has taken no time worth a note."""
    DURATIONS.mkdir(parents=True, exist_ok=True)
    mark, began = DURATIONS / f".{name}.ran", time.monotonic()
    mark.unlink(missing_ok=True)
    yield {RAN: str(mark.resolve())}
    if mark.exists():
        mark.unlink()
        atomic.write_text(DURATIONS / name, f"{time.monotonic() - began:.1f}")


def discard(stages: Sequence[Stage]) -> None:
    """Remove what the stages left in an earlier run, so that nobody takes it for today's. DVC's cache still has it."""
    for out in [out for stage in stages for out in stage.outs]:
        if out.is_dir():
            shutil.rmtree(out)
        else:
            out.unlink(missing_ok=True)


def _is_worth_it(attempts: int, state: Any) -> bool:
    """Whether to try a stage again that has been tried so often."""
    error = state.result(raise_on_failure=False)
    if not isinstance(error, StageError):
        return attempts < ATTEMPTS
    return not error.mistake and attempts < (ATTEMPTS_KILLED if error.killed else ATTEMPTS)


@contextlib.contextmanager
def _watched(candidate: str) -> Iterator[None]:
    """Show in Prefect how far a training is, from the file that it keeps."""
    live = PROGRESS / f"{candidate}.json"
    live.unlink(missing_ok=True)
    artifact = create_progress_artifact(0.0, key=f"training-{candidate}", description=f"{candidate}: starting")
    ended = threading.Event()

    def look() -> None:
        shown = None
        while not ended.wait(2):
            with contextlib.suppress(FileNotFoundError):
                now = json.loads(live.read_text(encoding="utf-8"))
                if now != shown:
                    _show(artifact, candidate, now)
                    shown = now

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
    if live.exists():
        _show(artifact, candidate, json.loads(live.read_text(encoding="utf-8")))
        live.unlink()  # it trains no more


def _show(artifact: Any, candidate: str, now: dict[str, Any]) -> None:
    """Best effort: a server that is away for a moment is no reason to fail a training."""
    text = f"{candidate}: epoch {now['epoch']} of at most {now['epochs']}, validation mIoU {now['val_miou']:.4f}"
    with contextlib.suppress(httpx.HTTPError):
        update_progress_artifact(artifact, 100 * now["epoch"] / now["epochs"], description=text)
