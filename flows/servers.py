"""The servers of this folder: MLflow, Prefect, a worker and a watcher, under one supervisor (supervisord.conf).

Everything that they start carries the folder's name in its environment: by that it is found again, whoever of them was killed.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psutil
from cronsim import CronSim

from segmodels.errors import InputError
from segmodels.project import WORK

FOLDER = WORK / "servers"
LOGS = FOLDER
HOST = "127.0.0.1"
POOL = "segmodels"
OF, NAME = "SEGMODELS_SERVERS", "SEGMODELS_SERVER"
"""Variables of all that runs there: of which folder it is, and which of the servers."""
MLFLOW, PREFECT = "MLFLOW_TRACKING_URI", "PREFECT_API_URL"
FLOW_RUN = "PREFECT__FLOW_RUN_ID"
PORT = {MLFLOW: "SEGMODELS_MLFLOW_PORT", PREFECT: "SEGMODELS_PREFECT_PORT"}
NOTES_S, STARTS_S, ENDS_S = 15.0, 240.0, 30.0


@dataclass(frozen=True)
class Running:
    """The supervisor and where its servers answer; with a server of one's own, the address that was given."""

    supervisor: psutil.Process
    mlflow: str
    prefect: str


def running() -> Running | None:
    """What runs for this folder; None where nothing does."""
    try:
        supervisor = psutil.Process(int((FOLDER / "supervisord.pid").read_text()))
        environment = supervisor.environ()
    except (OSError, ValueError, psutil.Error):
        return None
    if environment.get(OF) != str(Path.cwd()):  # the number is another process's by now
        return None
    return Running(supervisor, environment[MLFLOW], environment[PREFECT])


def join() -> None:
    """Have this process use the servers of this folder where they run and no others are named."""
    found = running()
    if found is not None:
        os.environ.setdefault(MLFLOW, found.mlflow)
        os.environ.setdefault(PREFECT, found.prefect)


def start(*, mlflow_port: int, prefect_port: int, say: Callable[[str], None]) -> Running:
    """Start them and wait until they answer, and the worker is there.

    Raises:
        InputError: a port is taken, or one of them does not come up; the reason is in its log.
    """
    end_left_over()
    FOLDER.mkdir(parents=True, exist_ok=True)
    given = {MLFLOW: mlflow_port, PREFECT: prefect_port}
    for variable, port in given.items():
        if variable not in os.environ and _taken(port):
            key = f"servers.{'mlflow' if variable == MLFLOW else 'prefect'}_port"
            raise InputError(f"{key}: something else listens at port {port}; set another in params.yaml")
    addresses = {MLFLOW: f"http://{HOST}:{mlflow_port}", PREFECT: f"http://{HOST}:{prefect_port}/api"}
    ours = {f"{PORT[one]}": "" if one in os.environ else str(port) for one, port in given.items()}
    environment = addresses | dict(os.environ) | ours | {OF: str(Path.cwd()), "SEGMODELS_PYTHON": sys.executable}
    environment |= {
        f"SEGMODELS_STARTS_{name}": str(bool(ours[PORT[one]])).lower() for name, one in (("MLFLOW", MLFLOW), ("PREFECT", PREFECT))
    }
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(Path(__file__).with_name("supervisord.conf"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InputError(f"the supervisor did not start: {(done.stderr or done.stdout).strip()}")
    _wait(say)
    found = running()
    assert found is not None
    return found


def when(cron: str | None, timezone: str, watch_seconds: float | None) -> Iterator[str]:
    """What has a retraining start, for people."""
    if cron is not None:
        due = next(CronSim(cron, datetime.now(ZoneInfo(timezone))))
        yield f"retrains by the clock next at {due:%Y-%m-%d %H:%M} {timezone}"
    if watch_seconds is not None:
        yield f"looks every {watch_seconds:g} s whether the dataset has changed"


def _wait(say: Callable[[str], None]) -> None:
    end = time.monotonic() + STARTS_S
    waiting = {"mlflow": "/health", "prefect": "/health", "worker": f"/work_pools/{POOL}/workers/filter"}
    while waiting:
        found = running()
        if found is None and time.monotonic() < end - STARTS_S + NOTES_S:
            time.sleep(0.1)  # the supervisor has not noted its number yet
            continue
        if found is None or time.monotonic() > end:
            name = next(iter(waiting))
            stop()
            raise InputError(f"{name} did not come up; the end of {LOGS / name}.log: {_last(LOGS / f'{name}.log')}")
        for name, path in list(waiting.items()):
            if _answers(name, (found.mlflow if name == "mlflow" else found.prefect) + path):
                say(f"{name} is up")
                del waiting[name]
        time.sleep(0.5)


def _answers(name: str, address: str) -> bool:
    import httpx

    try:
        if name == "worker":
            return any(one["status"] == "ONLINE" for one in httpx.post(address, json={}, timeout=5).raise_for_status().json())
        return httpx.get(address, timeout=5).is_success
    except (httpx.HTTPError, ValueError):
        return False


def stop() -> bool:
    """End them and all that they have started, and nothing else; false where nothing ran."""
    runs = {one.pid: one for one in processes() if FLOW_RUN in _environment(one)}
    _end(
        [one for one in runs.values() if one.ppid() not in runs]
    )  # first, while there is a Prefect to tell; the rest ends with them
    found = running()
    if found is not None:
        found.supervisor.terminate()
        psutil.wait_procs([found.supervisor], ENDS_S)
    return end_left_over() or bool(runs) or found is not None


def end_left_over(name: str | None = None) -> bool:
    """End what still runs of this folder's servers, or of one of them but for the flows that it started; false where nothing did."""
    left = [
        one for one in processes() if name is None or (_environment(one).get(NAME) == name and FLOW_RUN not in _environment(one))
    ]
    _end(left)
    return bool(left)


def processes() -> Iterator[psutil.Process]:
    """What the servers of this folder are, and what they started; not this process, nor those that it came from."""
    own = {os.getpid(), *(one.pid for one in psutil.Process().parents())}
    for process in psutil.process_iter():
        if process.pid not in own and _environment(process).get(OF) == str(Path.cwd()):
            yield process


def _end(some: list[psutil.Process]) -> None:
    for process in some:
        _told(process.terminate)
    for process in psutil.wait_procs(some, ENDS_S)[1]:
        _told(process.kill)
    psutil.wait_procs(some, ENDS_S)


def _told(what: Callable[[], Any]) -> None:
    try:
        what()
    except psutil.NoSuchProcess:
        return


def _environment(process: psutil.Process) -> Mapping[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):  # another person's, or ended
        return {}


def _taken(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((HOST, port))
        except OSError:
            return True
    return False


def _last(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return "\n".join(lines[-5:]) or "(empty)"
