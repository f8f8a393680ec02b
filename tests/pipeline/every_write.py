"""Faults at the writes of an operation, at one after the other: the process is killed there, before or while half is written; the disk is full; it is broken.

    .venv/bin/python -m tests.pipeline.every_write promotion       every write, all three: a quarter of an hour on two cores
    .venv/bin/python -m tests.pipeline.every_write training

A write is a file opened for writing, renamed, linked or removed in the project by Python, or a change committed to MLflow's database (what safetensors
and Parquet write themselves goes into a file that was opened before). After each fault the operation is done again, and must end as if nothing
had happened. The promotion is also asked right after the fault, as whoever serves meanwhile would: is the champion a version that is
there, whole, and was it decided so?
"""

import argparse
import contextlib
import errno
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import OperationalError

from flows import aliases, registry
from segmodels import augment, bundle, tracking
from segmodels.dataset import open_dataset
from tests.conftest import prepared_at
from tests.pipeline.test_registry import Registry
from tests.pipeline.trainings import SIZE, trained

Fault = Literal["killed", "cut", "full", "broken"]
FAULTS: tuple[Fault, ...] = ("killed", "cut", "full", "broken")
CODES = {"full": errno.ENOSPC, "broken": errno.EIO}
SQL = {"full": "database or disk is full", "broken": "disk I/O error"}
CHANGES = ("os.rename", "os.link", "os.symlink", "os.remove", "os.mkdir", "os.rmdir")
OF_A_FOLDER = ("os.remove", "os.mkdir", "os.rmdir")
"""Whose last argument may be the folder that a name is in."""
COPIED = "/artifacts/code/"
"""Where MLflow puts a copy of the program's own files, of which the first and the last are enough."""
LARGE_BYTES = 2**20


def watch(folder: Path, at: int | None, fault: Fault, writes: list[str], struck: Path) -> None:
    """From now on this process notes its writes in a folder, and has a fault at the one that is the `at`-th, which it notes in `struck`."""
    root = f"{folder}{os.sep}"
    halved: list[str] = []

    def note(what: str, error: Callable[[], Exception]) -> None:
        if halved:
            with contextlib.suppress(OSError):  # it is gone already
                os.truncate(halved[0], Path(halved[0]).stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        writes.append(what)
        if len(writes) == at:
            struck.write_text(what)
            if fault == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if fault != "cut":
                raise error()
            if what.startswith("open "):
                halved.append(f"{root}{what.removeprefix('open ')}")

    def audited(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, str) or not flags & (os.O_WRONLY | os.O_RDWR):
                return
        elif event in CHANGES and (event not in OF_A_FOLDER or arguments[-1] == -1):  # else of a folder elsewhere that is removed
            path = arguments[0]
        else:
            return
        path = os.path.abspath(os.fspath(path))  # noqa: PTH100  in a hook that is asked of every file
        if path.startswith(root) and not path.endswith(("-journal", "-wal", "-shm")):
            note(f"{event} {path.removeprefix(root)}", lambda: OSError(CODES[fault], os.strerror(CODES[fault]), path))

    def executed(connection: Connection, _: Any, statement: str, *__: Any) -> None:
        if statement.lstrip()[:6].upper() in ("INSERT", "UPDATE", "DELETE"):
            connection.info["wrote"] = True

    def committed(connection: Connection) -> None:
        if connection.info.pop("wrote", False):
            note("commit", lambda: OperationalError("COMMIT", {}, sqlite3.OperationalError(SQL[fault])))

    sys.addaudithook(audited)
    sqlalchemy.event.listen(Engine, "before_cursor_execute", executed)
    sqlalchemy.event.listen(Engine, "commit", committed)


@dataclass(frozen=True)
class Promotion:
    """A candidate that is registered and becomes champion in place of version 1."""

    folder: Path
    prepared: Path

    def begin(self) -> None:
        """What there is before."""
        self._enter()
        for command in (
            ["git", "init", "-q"],
            ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", "start", "--allow-empty"],
        ):
            subprocess.run(command, check=True)
        for name in ("dvc.lock", "params.yaml"):
            (self.folder / name).write_text(name)
        models = Registry(self.folder, self.prepared)
        models.decide(1)
        models.saved(0)

    def run(self) -> None:
        self._enter()
        Registry(self.folder, self.prepared).decide(0)

    def look(self) -> None:
        """What anybody finds after the fault, once the next start has put back what was cut short."""
        self._enter()
        client = tracking.connect()
        aliases.reconcile(client, "p")
        champion = registry.champion_version("p")
        assert champion is not None
        assert json.loads(champion.tags["segmodels.verdict"])["outcome"] == "promote"
        with tempfile.TemporaryDirectory() as work:
            registry.fetch(champion, Path(work) / "bundle")  # which refuses any other than was registered

    def ended(self) -> Any:
        self._enter()
        models = Registry(self.folder, self.prepared)
        versions = models.client.search_model_versions("name = 'p'")
        assert len({one.tags["segmodels.bundle_sha256"] for one in versions}) == len(versions) == 2
        champion = models.client.get_model_version_by_alias("p", "champion")
        receipt = json.loads((self.folder / "reports" / "promotion.json").read_text())
        return champion.tags["segmodels.bundle_sha256"], json.loads(champion.tags["segmodels.verdict"]), receipt["outcome"]

    def _enter(self) -> None:
        os.chdir(self.folder)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{self.folder / 'mlflow.db'}"
        registry.refusal = lambda address, kind: None  # whether it answers is asked in a process of its own, for seconds


@dataclass(frozen=True)
class Training:
    """Three epochs, with their checkpoints, and the bundle."""

    folder: Path
    prepared: Path
    augmented: Path

    def begin(self) -> None:
        pass

    def run(self) -> None:
        trained(self.prepared, self.augmented, self.folder, checkpoint_steps=2)

    def look(self) -> None:
        """A bundle that is there is whole."""
        if (self.folder / "bundle").exists():
            bundle.load(self.folder / "bundle")

    def ended(self) -> Any:
        epochs = json.loads((self.folder / "log.json").read_text())["epochs"]
        told = [{key: value for key, value in one.items() if key != "seconds"} for one in epochs]
        assert not list(self.folder.rglob(".*.partial-*"))
        return bundle.load(self.folder / "bundle").sha256, told


Operation = Promotion | Training


def _act(operation: Operation, doing: str, at: int | None, fault: Fault, into: Path) -> None:
    """In a process of its own."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # errors are what it is about
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    writes: list[str] = []
    if doing == "run":
        watch(operation.folder, at, fault, writes, into.with_suffix(".struck"))
    found = getattr(operation, doing)()
    into.write_text(json.dumps({"writes": writes, "found": found}))


def act(operation: Operation, doing: str, work: Path, *, at: int | None = None, fault: Fault = "killed") -> dict[str, Any] | None:
    """Do something in a process of its own; None if it did not come to its end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.pipeline.every_write"])
    into = work / "told.json"
    for one in (into, into.with_suffix(".struck")):
        one.unlink(missing_ok=True)
    process = context.Process(target=_act, args=(operation, doing, at, fault, into))
    process.start()
    process.join(300)
    assert process.exitcode is not None, f"{doing} has no end"
    told: dict[str, Any] | None = json.loads(into.read_text()) if process.exitcode == 0 else None
    return told


def copied(source: Path, target: Path) -> None:
    """A copy of a folder in place of what is there; large files, which nobody changes, are links."""

    def one(source: str, target: str) -> None:
        if Path(source).stat().st_size > LARGE_BYTES and not source.endswith(".db"):
            os.link(source, target)
        else:
            shutil.copy2(source, target)

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=one)


def struck(
    operation: Operation, work: Path, chosen: Callable[[int], bool], faults: Sequence[Fault]
) -> Iterator[tuple[Fault, str]]:
    """Has every write that is chosen, by its place among all, meet every fault, and looks at what comes of it; yields what was struck."""
    operation.folder.mkdir()
    assert act(operation, "begin", work) is not None
    before = work / "before"
    copied(operation.folder, before)
    told = act(operation, "run", work)
    assert told is not None
    writes = told["writes"]
    unbroken = act(operation, "ended", work)
    assert unbroken is not None
    copies = [at for at, what in enumerate(writes, start=1) if COPIED in what][1:-1]
    places = [(at, what) for at, what in enumerate(writes, start=1) if at not in copies]
    for place, (at, what) in enumerate(places):
        for fault in faults if chosen(place) else ():
            copied(before, operation.folder)
            if fault == "cut" and not what.startswith("open "):
                continue
            told = act(operation, "run", work, at=at, fault=fault)
            assert (work / "told.struck").is_file(), f"{fault} at write {at}, {what}: it was not struck"
            assert fault != "killed" or told is None
            assert act(operation, "look", work) is not None, f"{fault} at write {at}, {what}: what is found then is not whole"
            assert act(operation, "run", work) is not None, f"{fault} at write {at}, {what}: it cannot be done again"
            ended = act(operation, "ended", work)
            assert ended is not None and ended["found"] == unbroken["found"], f"{fault} at write {at}, {what}: it ends otherwise"
            yield fault, what


def operation_of(name: str, work: Path, drawn: Path) -> Operation:
    prepared = prepared_at(open_dataset(drawn), work / "store")
    if name == "promotion":
        return Promotion(work / "project", prepared)
    augment.augment(prepared, work / "light", recipe="light", options={}, size_px=SIZE, seed=0)
    return Training(work / "project", prepared, work / "light")


def main(arguments: Sequence[str] | None = None) -> None:
    from segmodels import shapes

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("operation", choices=["promotion", "training"])
    parser.add_argument("--every", type=int, default=1, help="of so many writes one")
    chosen = parser.parse_args(arguments)
    began, tally = time.monotonic(), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        shapes.write(work / "raw", count=24, size_px=(48, 64), seed=3)
        operation = operation_of(chosen.operation, work, work / "raw")
        for fault, what in struck(operation, work, lambda place: place % chosen.every == 0, FAULTS):
            tally[fault] += 1
            print(f"{fault:>7} at {what}", flush=True)
    print(
        f"{chosen.operation}, {time.monotonic() - began:.0f} s, {os.cpu_count()} cores: "
        + ", ".join(f"{n} {x}" for x, n in tally.items())
    )
    print("every time it ended as if nothing had happened")


if __name__ == "__main__":
    main()
