"""DVC stages as Prefect tasks. The only file that calls DVC: what depends on what is read from dvc.yaml, never written again."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import dvc.api
import httpx
import networkx
import psutil
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import SCMError
from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE

from flows import reasons
from segmodels import atomic
from segmodels.errors import InputError
from segmodels.project import CHECKPOINTS, DURATIONS, PROGRESS, RAN

MISTAKE = re.compile(r"exited with 2\b")
"""How DVC reports a stage that ended for a mistake in the input: trying again would end the same way."""
KILLED = re.compile(r"exited with (-\d+|137)\b")
"""And one that was killed: it goes on where it was."""
ATTEMPTS, ATTEMPTS_KILLED = 2, 6
"""How often a stage is tried that fails, and one that is killed."""

# without a stdout DVC keeps its chatter to itself; a stage's own output goes to the file descriptor all the same
_DVC = (
    sys.executable,
    "-c",
    "import sys; from segmodels.processes import die_with_parent; die_with_parent(); "
    "sys.stdout = None; from dvc.cli import main; sys.exit(main())",
)

# dvc.yaml says `python`: it is to be this one
_OURS_FIRST = {"PYTHONUNBUFFERED": "1", "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}


class StageError(Exception):
    """A stage failed. `mistake`: for a reason that a retry cannot mend. `killed`: it did not end by itself."""

    def __init__(self, stage: str, reason: str, *, mistake: bool, killed: bool) -> None:
        super().__init__(f"{stage}: {reason}")
        self.mistake, self.killed = mistake, killed


class RetrainError(Exception):
    """Stages failed. Candidates that did not fail have been compared and registered all the same."""


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml that is due.

    Attributes:
        upstream: the stages it waits for.
        outs: its outputs.
        options: for `dvc repro`.
        why: what has changed for it, in words; nothing where it only follows from others.
    """

    name: str
    upstream: frozenset[str]
    outs: tuple[Path, ...]
    options: tuple[str, ...] = ()
    why: tuple[str, ...] = ()

    @property
    def candidate(self) -> str | None:
        """Whose training or evaluation this is; None for what concerns all."""
        return self.name.partition("@")[2] if self.kind in ("train", "evaluate") else None

    @property
    def kind(self) -> str:
        return self.name.partition("@")[0]


def forget_ended() -> None:
    """Let go of the files that DVC processes held when they were killed.

    DVC does so itself where the process's id is nobody's. That of a zombie is not, as killed processes stay in a container whose first
    process does not wait for orphans; nor is one that another process has by now, as in a new container on the same folder.
    """
    with _repo() as repo, repo.lock:  # under which DVC notes who holds what
        noted = Path(str(repo.tmp_dir)) / "rwlock"
        if noted.is_file() and not any(_holds(pid, noted.stat().st_mtime) for pid in _noted(noted)):
            noted.unlink()


def _noted(path: Path) -> set[int]:
    """The processes that hold files, by DVC's notes; none if those have been cut off."""
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return set()
    readers = [reader for readers in notes.get("read", {}).values() for reader in readers]
    return {holder["pid"] for holder in [*notes.get("write", {}).values(), *readers]}


def _holds(pid: int, noted_s: float) -> bool:
    """Whether the process that was noted at `noted_s` (seconds since 1970) still runs."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= noted_s
    except psutil.NoSuchProcess:
        return False


def version_dataset(path: Path) -> bool:
    """Have DVC version the dataset as it is now; true if it is not what was versioned last.

    Raises:
        InputError: there is no dataset.
    """
    pointer = path.with_name(f"{path.name}.dvc")
    atomic.restore(path)
    if not path.is_dir():
        remedy = "`dvc pull` fetches it from your remote" if pointer.is_file() else "`make data SOURCE=<folder> FORMAT=<name>`"
        raise InputError(f"{path}: there is no dataset; {remedy}")
    if pointer.is_file():
        with _repo() as repo:
            if not repo.status(targets=[str(pointer)]):
                return False
    _run("add", str(path))
    return True


def dataset_hash(path: Path) -> str:
    """DVC's hash of the dataset as it lies there."""
    with _repo() as repo:
        pointer = path.with_name(f"{path.name}.dvc")
        if pointer.is_file():
            [out] = repo.stage.collect(str(pointer))[0].outs
        else:
            [out] = repo.stage.create(fname=str(pointer), outs=[str(path)], single_stage=True).outs
        return str(out.get_hash().value)


def trained_on(path: Path) -> str | None:
    """DVC's hash of the dataset that the stages have run on, by dvc.lock; None before the first time."""
    with _repo() as repo:
        for stage in repo.index.stages:
            for dependency in stage.deps:
                if Path(dependency.fs_path) == path.resolve():
                    return dependency.hash_info.value if dependency.hash_info else None
    return None


def stored(revision: str | None, path: Path) -> bytes:
    """A file of a stage's outputs as it was at a git revision, from DVC's cache or a remote; None: as it is now.

    Raises:
        InputError: no such revision, nothing of it there, or its data is not on this machine nor on a remote.
    """
    if revision is None:
        if not path.is_file():
            raise InputError(f"{path}: is not there yet; run `make retrain`")
        return path.read_bytes()
    try:
        content: bytes = dvc.api.read(str(path), rev=revision, mode="rb")
    except SCMError as error:
        raise InputError(f"{revision}: is no commit, tag or branch ({error})") from error
    except (DvcException, OSError) as error:
        raise InputError(
            f"{path} of {revision} cannot be had ({error}); commit dvc.lock after `make retrain`, and `dvc fetch` what only a remote has"
        ) from error
    return content


def stale(unwatched: Mapping[str, bool]) -> list[Stage]:
    """The stages whose inputs have changed since they ran, and all that follow from them, in an order that can be run.

    Args:
        unwatched: stages that read something DVC does not watch, and whether that has changed. Their results are never taken from
            DVC's cache of runs, which would not know the difference.
    """
    changed = {name for name, differs in unwatched.items() if differs}
    with _repo() as repo:
        graph: networkx.DiGraph[Any] = repo.index.graph.reverse()  # DVC's edges go from a stage to what it needs
        accounts = repo.status()
        due = [stage for stage in graph if stage.addressing in accounts or stage.addressing in changed]
        pending = set(due).union(*(networkx.descendants(graph, stage) for stage in due))
        return [
            Stage(
                name=stage.addressing,
                upstream=frozenset(other.addressing for other in graph.predecessors(stage) if other in pending),
                outs=tuple(Path(out.fs_path).relative_to(repo.root_dir) for out in stage.outs),
                options=("--no-run-cache",) * (stage.addressing in unwatched) + ("--force",) * (stage.addressing in changed),
                why=reasons.told(accounts.get(stage.addressing, ()))
                + ("its weights file holds something else",) * (stage.addressing in changed),
            )
            for generation in networkx.topological_generations(graph)
            for stage in generation
            if stage in pending and not stage.is_data_source
        ]


@task(
    task_run_name="{stage.name}",
    cache_policy=NO_CACHE,  # what it reads are files, which Prefect cannot see
    persist_result=False,
    retries=ATTEMPTS_KILLED - 1,
    retry_delay_seconds=5,
    retry_condition_fn=lambda _task, run, state: _is_worth_it(run.run_count, state),
)
def run_stage(stage: Stage, *, relayed: bool, environment: dict[str, str]) -> None:
    """Run one stage, if DVC does not find that nothing has changed.

    Args:
        relayed: pass the output on line by line, as is needed when several stages share the terminal; else a stage has the
            terminal to itself, with live progress bars.
        environment: what differs from run to run, and is no part of what the stage depends on.

    Raises:
        StageError: it failed.
    """
    watched = _watched(str(stage.candidate)) if stage.kind == "train" else contextlib.nullcontext()
    with watched, _timed(stage.name) as ran:
        _run("repro", "-s", *stage.options, stage.name, relayed=relayed, environment=environment | ran)
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


def durations() -> dict[str, float]:
    """The seconds that each stage took when it last ran to its end, by its name."""
    if not DURATIONS.is_dir():
        return {}
    return {path.name: float(path.read_text()) for path in DURATIONS.iterdir() if not path.name.startswith(".")}


def share_cache(clone: Path) -> None:
    """Have a clone of this repository use its DVC cache, and its remotes."""
    with _repo() as repo:
        cache = repo.cache.local_cache_dir
    local = Path(".dvc/config.local")
    if local.is_file():  # where remotes and how to reach them may stand
        shutil.copy(local, clone / local)
    _run("cache", "dir", "--local", cache, folder=clone)


def reproduce(clone: Path, candidate: str) -> None:
    """Make a candidate again in a clone that shares the cache: its dataset comes from there or a remote, its training from nowhere.

    Raises:
        InputError: its dataset is not to be had.
        StageError: a stage failed.
    """
    with _repo() as repo:
        remote = repo.config["core"].get("remote")
    try:
        _run("pull" if remote else "checkout", "data/raw.dvc", folder=clone)
    except StageError as error:
        where = f"DVC's cache and the remote {remote}" if remote else "DVC's cache, and there is no remote"
        raise InputError(
            f"data/raw.dvc: {where} hold no such dataset any more; fetch it with `dvc fetch` from where it is"
        ) from error
    own = {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}  # its records are none of the project's
    with Repo(str(clone)) as repo:
        graph = repo.index.graph.reverse()
        [last] = [stage for stage in graph if not stage.is_data_source and stage.name == f"evaluate@{candidate}"]
        needed = networkx.ancestors(graph, last) | {last}
        names = [one.name for one in networkx.topological_sort(graph) if one in needed and not one.is_data_source]
    for name in names:
        anew = ("--force", "--no-run-cache") if name.partition("@")[0] in ("train", "evaluate") else ()
        _run("repro", "-s", *anew, name, folder=clone, environment=own)


def collect_garbage(also_used_by: Sequence[Path]) -> int:
    """Remove from DVC's cache what neither this folder, nor a branch or tag, nor another clone uses; returns the bytes that are free now.

    Raises:
        InputError: the list of what a folder holds is neither in the cache nor on a remote: what lies in it could not be told from garbage.
    """
    with _repo() as repo:
        cache = Path(repo.cache.local_cache_dir)
    before = _size(cache)
    # not the command, which asks, and with `--force` takes a folder without its list for an empty one
    collect = (
        "import sys; from dvc.repo import Repo; Repo().gc(workspace=True, all_branches=True, all_tags=True, repos=sys.argv[1:])"
    )
    command = [sys.executable, "-c", collect, *map(str, also_used_by)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if "dvc.exceptions" in line]
        raise InputError(
            f"nothing was removed, as {'; '.join(said) or done.stderr}; `dvc fetch` it, or remove the branch or version"
        )
    return before - _size(cache)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


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
def _repo() -> Iterator[Repo]:
    try:
        with Repo() as repo:
            yield repo
    except DvcException as error:
        raise InputError(f"DVC cannot go on: {error}") from error


def _run(*arguments: str, relayed: bool = False, environment: dict[str, str] | None = None, folder: Path | None = None) -> None:
    """Run a DVC command in a process of its own: two in one process would share its state and its lock."""
    process = subprocess.Popen(
        [*_DVC, "--wait-for-lock", *arguments],
        stdout=subprocess.PIPE if relayed else None,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        cwd=folder,
        env=os.environ | _OURS_FIRST | (environment or {}),
    )
    said: deque[str] = deque(maxlen=40)
    readers = [threading.Thread(target=_relay, args=(process.stderr, sys.stderr, said))]
    if relayed:
        readers.append(threading.Thread(target=_relay, args=(process.stdout, sys.stdout, None)))
    for reader in readers:
        reader.start()
    try:
        code = process.wait()
    finally:
        if process.poll() is None:  # interrupted
            process.terminate()
            process.wait()
        for reader in readers:
            reader.join()
    if code != 0:
        text = "".join(said)
        reason = _reason(said) or f"dvc {' '.join(arguments)} ended with {code}"
        killed = code < 0 or KILLED.search(text) is not None
        raise StageError(arguments[-1], reason, mistake=MISTAKE.search(text) is not None, killed=killed)


def _relay(source: IO[str] | None, sink: IO[str], said: deque[str] | None) -> None:
    """Pass lines on as they come, and keep the last of them."""
    assert source is not None
    for line in source:
        if said is not None:
            said.append(line)
        sink.write(line)
        sink.flush()


def _reason(said: Sequence[str]) -> str:
    """The last thing said before DVC's own words, which only repeat that a command failed."""
    own = [line.strip() for line in said if line.strip() and not line.startswith(("ERROR:", "WARNING:"))]
    return own[-1].removeprefix("error: ") if own else " ".join(line.strip() for line in said if line.startswith("ERROR:"))


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


def _show(artifact: Any, candidate: str, now: dict[str, Any]) -> None:
    """Best effort: a server that is away for a moment is no reason to fail a training."""
    text = f"{candidate}: epoch {now['epoch']} of at most {now['epochs']}, validation mIoU {now['val_miou']:.4f}"
    with contextlib.suppress(httpx.HTTPError):
        update_progress_artifact(artifact, 100 * now["epoch"] / now["epochs"], description=text)
