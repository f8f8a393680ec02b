"""What a node of a Ray cluster does: a candidate trained and scored in a clone of its own, from what a DVC remote has.

This file is sent to the node, which has Python with the project's dependencies and git, and of the project itself nothing. Only the
standard library is used here; everything else is done in the clone, by the code that it holds.
"""

import contextlib
import fcntl
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

FOLDER = "SEGMODELS_NODE"
"""The variable that names where a node works."""
LOOKS_S = 2.0
LINES = 20
# before anything else: what a killed worker leaves behind would keep the GPU
_PROGRAM = "from segmodels.processes import die_with_parent; die_with_parent(); import sys; from flows.on_node import main; sys.exit(main())"


class Checkpoints:
    """An actor on the machine that asks: the last checkpoint of every candidate, as a file, so that one whose node is lost goes on elsewhere.

    Args:
        folder: the project's own checkpoints.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def put(self, candidate: str, packed: bytes) -> None:
        """Keep it in place of the one before, whole."""
        path = self._path(candidate)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(packed)
        partial.replace(path)

    def get(self, candidate: str) -> bytes | None:
        """None where there is none."""
        path = self._path(candidate)
        return path.read_bytes() if path.is_file() else None

    def _path(self, candidate: str) -> Path:
        return self._folder / candidate / "elsewhere.tar"


def work(
    candidate: str, repository: bytes, reference: str, config: str, environment: dict[str, str], checkpoints: Any
) -> str | None:
    """Train and score a candidate, and push what came out.

    Args:
        repository: a git bundle.
        reference: its commit.
        config: DVC's own settings: where the remote is.
        environment: variables for the stages.
        checkpoints: the actor.

    Returns:
        None, or why the candidate failed: the last lines that were said, and with what exit code it ended.
    """
    with _clone(candidate) as clone:
        _check_out(clone, reference, repository)
        (clone / ".dvc" / "config.local").write_text(config, encoding="utf-8")
        kept = clone / ".segmodels"
        _restore(kept, candidate, checkpoints)
        ended = threading.Event()
        watcher = threading.Thread(target=_watch, args=(kept, candidate, checkpoints, ended), daemon=True)
        watcher.start()
        try:
            return _run(candidate, clone, environment)
        finally:
            ended.set()
            watcher.join()


@contextlib.contextmanager
def _clone(candidate: str) -> Iterator[Path]:
    """A folder for one candidate, whose DVC cache holds what others have fetched; what killed ones left is removed."""
    root = Path(os.environ.get(FOLDER) or Path.home() / ".cache" / "segmodels-node").resolve()
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    for lock in root.glob("*.lock"):
        with lock.open("w") as held:
            if _is_free(held):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
    clone = Path(tempfile.mkdtemp(prefix=f"{candidate}-", dir=root))
    with clone.with_name(f"{clone.name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        objects = root / "dvc-cache"
        objects.mkdir(exist_ok=True)
        # objects alone are shared: DVC's memory of runs is copied to the remote whole, and is to be of this candidate
        (clone / ".dvc" / "cache").mkdir(parents=True)
        (clone / ".dvc" / "cache" / "files").symlink_to(objects)
        try:
            yield clone
        finally:
            shutil.rmtree(clone, ignore_errors=True)
            clone.with_name(f"{clone.name}.lock").unlink(missing_ok=True)


def _is_free(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check_out(clone: Path, reference: str, repository: bytes) -> None:
    bundle = clone / ".bundle"
    bundle.write_bytes(repository)
    for command in (
        ["git", "init", "-q"],
        ["git", "fetch", "-q", str(bundle), reference],
        ["git", "checkout", "-q", "--detach", "FETCH_HEAD"],
    ):
        done = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command[:2])}: {done.stderr.strip()}")
    bundle.unlink()


def _run(candidate: str, clone: Path, environment: dict[str, str]) -> str | None:
    """Run the clone's own code; what it says goes on to whoever asked."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", _PROGRAM, candidate],
        cwd=clone,
        env=os.environ | environment | {"PYTHONPATH": str(clone)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    said: deque[str] = deque(maxlen=LINES)
    try:
        for line in process.stdout:
            said.append(line)
            print(line, end="", flush=True)
        code = process.wait()
    finally:
        process.kill()
        process.wait()
    return None if code == 0 else f"{''.join(said)}\nexited with {code}"


def _restore(kept: Path, candidate: str, checkpoints: Any) -> None:
    import ray

    packed = ray.get(checkpoints.get.remote(candidate))
    if packed is not None:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(kept, filter="data")


def _watch(kept: Path, candidate: str, checkpoints: Any, ended: threading.Event) -> None:
    """Send every new checkpoint, and what was decided before the training; a pack of files that changed meanwhile is not sent."""
    import ray

    sent = None
    while not ended.wait(LOOKS_S):
        try:
            now = _listed(kept, candidate)
            if now == sent or not any(name.endswith(".ckpt") for name, *_ in now):
                continue
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w") as archive:
                for name, *_ in now:
                    archive.add(kept / name, name)
            if _listed(kept, candidate) == now:
                ray.get(checkpoints.put.remote(candidate, packed.getvalue()))
                sent = now
        except Exception as error:  # a file that was replaced, or the machine that asks is busy: the next time
            print(f"{candidate}: a checkpoint could not be sent: {error}", flush=True)


def _listed(kept: Path, candidate: str) -> list[tuple[str, int, int]]:
    """The files that going on takes: names, times and sizes; files that are being written have names that begin with a dot."""
    files = [kept / "decisions" / f"{candidate}.json"]
    for folder, _, names in os.walk(kept / "checkpoints" / candidate):
        files += [Path(folder) / name for name in names if not name.startswith(".") and name != "lock"]
    found = []
    for path in sorted(files):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            found.append((str(path.relative_to(kept)), status.st_mtime_ns, status.st_size))
    return found
