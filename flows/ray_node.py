"""What a node of a Ray cluster does: a candidate trained and scored in a clone of its own, from what a DVC remote has.

This file is sent to the node, which has Python with the project's dependencies and git, and of the project itself nothing. Only the
standard library is used here; everything else is done in the clone, by the code that it holds.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import Any

FOLDER = "SEGMODELS_NODE"
"""The variable that names where a node works; a folder for temporary files unless it is set."""
LOOKS_S = 2.0
LINES = 20


class Checkpoints:
    """An actor beside the one that asks: the last checkpoint of every candidate, so that one whose node is lost goes on elsewhere."""

    def __init__(self) -> None:
        self._held: dict[str, bytes] = {}

    def put(self, candidate: str, packed: bytes) -> None:
        self._held[candidate] = packed

    def get(self, candidate: str) -> bytes | None:
        return self._held.get(candidate)


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
        None, or why the candidate failed: with what exit code, and the last lines that were said.
    """
    import ray

    root = Path(os.environ.get(FOLDER) or tempfile.gettempdir())
    root.mkdir(parents=True, exist_ok=True)
    clone = Path(tempfile.mkdtemp(prefix=f"{candidate}-", dir=root))
    try:
        _clone(clone, reference, repository)
        # what one candidate has fetched the next one has
        (clone / ".dvc" / "config.local").write_text(f"{config}[cache]\n    dir = {root / 'dvc-cache'}\n", encoding="utf-8")
        held = clone / ".segmodels" / "checkpoints" / candidate
        packed = ray.get(checkpoints.get.remote(candidate))
        if packed is not None:
            held.mkdir(parents=True)
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                archive.extractall(held, filter="data")
        ended = threading.Event()
        watcher = threading.Thread(target=_watch, args=(held, candidate, checkpoints, ended), daemon=True)
        watcher.start()
        try:
            return _run(candidate, clone, environment)
        finally:
            ended.set()
            watcher.join()
    finally:
        shutil.rmtree(clone, ignore_errors=True)


def _clone(clone: Path, reference: str, repository: bytes) -> None:
    bundle = clone / ".bundle"
    bundle.write_bytes(repository)
    for command in (
        ["git", "init", "-q"],
        ["git", "fetch", "-q", str(bundle), reference],
        ["git", "checkout", "-q", "--detach", "FETCH_HEAD"],
    ):
        subprocess.run(command, cwd=clone, check=True, capture_output=True)
    bundle.unlink()


def _run(candidate: str, clone: Path, environment: dict[str, str]) -> str | None:
    """Run the clone's own code; what it says goes on to whoever asked."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "flows.on_node", candidate],
        cwd=clone,
        env=os.environ | environment | {"PYTHONPATH": str(clone)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    said: deque[str] = deque(maxlen=LINES)
    for line in process.stdout:
        said.append(line)
        print(line, end="", flush=True)
    code = process.wait()
    return None if code == 0 else f"exited with {code}\n{''.join(said)}"


def _watch(folder: Path, candidate: str, checkpoints: Any, ended: threading.Event) -> None:
    """Send every new checkpoint; they are files that are replaced whole."""
    import ray

    sent = None
    while not ended.wait(LOOKS_S):
        try:
            files = sorted(path for path in folder.rglob("*.ckpt") if path.is_file())
            now = [(path.name, path.stat().st_mtime_ns) for path in files]
            if files and now != sent:
                packed = io.BytesIO()
                with tarfile.open(fileobj=packed, mode="w") as archive:
                    for path in files:
                        archive.add(path, path.relative_to(folder))
                ray.get(checkpoints.put.remote(candidate, packed.getvalue()))
                sent = now
        except FileNotFoundError:  # replaced meanwhile
            continue
