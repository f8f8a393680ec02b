"""A project whose servers run as `make up` starts them."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.conftest import free_port, make_project
from tests.pipeline.projects import Project

DEADLINE_S = 300


class Stack:
    """The servers of a project, asked over HTTP."""

    def __init__(self, project: Project, ports: dict[str, int]) -> None:
        self.project, self.ports = project, ports
        self.prefect = f"http://127.0.0.1:{ports['prefect']}/api"

    def up(self) -> str:
        return self.project.make("up")

    def down(self) -> str:
        return self.project.make("down")

    def runs(self) -> list[dict[str, Any]]:
        """The flow runs that the worker was given, in the order of their creation, but for those that the clock will start later."""
        answer = httpx.post(f"{self.prefect}/flow_runs/filter", json={"sort": "START_TIME_ASC", "limit": 200}, timeout=30)
        found: list[dict[str, Any]] = answer.raise_for_status().json()
        ours = [one for one in found if one["deployment_id"] and not (one["auto_scheduled"] and one["state_type"] == "SCHEDULED")]
        return sorted(ours, key=lambda one: one["created"])

    def cancel(self, run: dict[str, Any]) -> None:
        """What Prefect's page does."""
        state = {"state": {"type": "CANCELLING"}}
        httpx.post(f"{self.prefect}/flow_runs/{run['id']}/set_state", json=state, timeout=30).raise_for_status()

    def outcomes(self) -> list[dict[str, str]]:
        """What people were told."""
        log = self.project.folder / ".segmodels" / "outcomes.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []

    def processes(self, words: str = "") -> list[psutil.Process]:
        """What runs of this project's servers, and what they started, by a part of their command."""
        found = []
        for process in psutil.process_iter():
            try:
                of = process.environ().get("SEGMODELS_SERVERS")
                if (
                    of == str(self.project.folder)
                    and process.status() != psutil.STATUS_ZOMBIE
                    and words in " ".join(process.cmdline())
                ):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def log(self) -> str:
        """The end of what each of them said."""
        folder = self.project.folder / ".segmodels" / "servers"
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in sorted(folder.glob("*.log")))

    def wait(self, for_what: Callable[[], Any], *, seconds: float = DEADLINE_S) -> Any:
        """Until it is true of something; returns that."""
        end = time.monotonic() + seconds
        while True:
            try:
                found = for_what()
            except httpx.HTTPError:
                found = None
            if found:
                return found
            assert time.monotonic() < end, self.log()
            time.sleep(0.5)


@contextmanager
def stack(folder: Path, params: str) -> Iterator[Stack]:
    """Servers at free ports; whatever becomes of the test, they are ended."""
    ports = {name: free_port() for name in ("mlflow", "prefect")}
    text = f"{params}servers: {{mlflow_port: {ports['mlflow']}, prefect_port: {ports['prefect']}}}\n"
    made = Stack(Project(make_project(Path(os.path.realpath(folder)), text)), ports)
    try:
        yield made
    finally:
        for process in made.processes():
            process.kill()
