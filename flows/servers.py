"""The servers of this folder: MLflow, Prefect, a worker and a watcher, under one supervisor (supervisord.conf).

Everything that they start carries the folder's name in its environment: by that it is found again, whoever of them was killed.
"""

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import psutil
from cronsim import CronSim

from segmodels import locks
from segmodels.environment import ENVIRONMENT
from segmodels.errors import InputError
from segmodels.project import LOCKS, WORK

FOLDER = WORK / "servers"
HOST = "127.0.0.1"
LOCK = LOCKS / "servers"
OF, NAME = "SEGMODELS_SERVERS", "SEGMODELS_SERVER"
"""Variables of all that runs there: of which folder it is, and which of the servers."""
MLFLOW, PREFECT = "MLFLOW_TRACKING_URI", "PREFECT_API_URL"
FLOW_RUN = "PREFECT__FLOW_RUN_ID"
PORT = {MLFLOW: "SEGMODELS_MLFLOW_PORT", PREFECT: "SEGMODELS_PREFECT_PORT"}
_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
NOTES_S, STARTS_S, ENDS_S = 15.0, 240.0, 30.0


@dataclass(frozen=True)
class Running:
    """The supervisor and where its servers answer; with a server of one's own, the address that was given."""

    supervisor: psutil.Process
    mlflow: str
    prefect: str


def here() -> str:
    """What tells this folder of this machine from others on one Prefect server."""
    return hashlib.sha256(f"{socket.gethostname()}:{Path.cwd()}".encode()).hexdigest()[:8]


def pool() -> str:
    """The work pool of this folder's worker."""
    return f"segmodels-{here()}"


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
    with locks.held(LOCK, on_wait=lambda: say("they are being started or ended already; waiting for that")):
        return running() or _started(mlflow_port, prefect_port, say)


def _started(mlflow_port: int, prefect_port: int, say: Callable[[str], None]) -> Running:
    end_left_over()
    FOLDER.mkdir(parents=True, exist_ok=True)
    given = {MLFLOW: mlflow_port, PREFECT: prefect_port}
    for variable, port in given.items():
        if not os.environ.get(variable) and _taken(port):
            key = f"servers.{'mlflow' if variable == MLFLOW else 'prefect'}_port"
            raise InputError(f"{key}: something else listens at port {port}; set another in params.yaml")
    addresses = {MLFLOW: f"http://{HOST}:{mlflow_port}", PREFECT: f"http://{HOST}:{prefect_port}/api"}
    ours = {PORT[one]: "" if os.environ.get(one) else str(port) for one, port in given.items()}
    named = {one: value for one, value in os.environ.items() if value or one not in given}
    environment = addresses | named | ours | {OF: str(Path.cwd()), "SEGMODELS_PYTHON": sys.executable}
    environment |= {
        f"SEGMODELS_STARTS_{name}": str(bool(ours[PORT[one]])).lower() for name, one in (("MLFLOW", MLFLOW), ("PREFECT", PREFECT))
    }
    if environment.get(_RETRIES) == ENVIRONMENT[_RETRIES]:
        environment[_RETRIES] = "5"  # a minute: a server that was killed comes back
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
    waiting = ["mlflow", "prefect", "worker"]
    while waiting:
        found = running()
        if found is None and time.monotonic() < end - STARTS_S + NOTES_S:
            time.sleep(0.1)  # the supervisor has not noted its number yet
            continue
        if found is None or time.monotonic() > end:
            _stopped()
            log = FOLDER / f"{waiting[0]}.log"
            raise InputError(f"{waiting[0]} did not come up; the end of {log}: {_last(log)}")
        for name in list(waiting):
            if _answers(name, found):
                say(f"{name} is up")
                waiting.remove(name)
        time.sleep(0.5)


def _answers(name: str, found: Running) -> bool:
    import httpx

    try:
        if name == "mlflow":  # or it is a file
            return not found.mlflow.startswith("http") or httpx.get(f"{found.mlflow.rstrip('/')}/health", timeout=5).is_success
        prefect, auth = found.prefect.rstrip("/"), prefect_auth()
        if name == "prefect":
            return httpx.get(f"{prefect}/health", timeout=5).is_success
        workers = httpx.post(f"{prefect}/work_pools/{pool()}/workers/filter", json={}, timeout=5, auth=auth).raise_for_status()
        return any(one["status"] == "ONLINE" for one in workers.json())
    except (httpx.HTTPError, ValueError):
        return False


def prefect_auth() -> tuple[str, str] | None:
    """The name and password for Prefect, where it asks for one."""
    name, found, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    return (name, password) if found else None


def stop() -> bool:
    """End them and all that they have started, and nothing else; false where nothing ran."""
    with locks.held(LOCK):
        return _stopped()


def _stopped() -> bool:
    runs = {one.pid: one for one in processes() if FLOW_RUN in _environment(one)}
    # first, while there is a Prefect to tell; what they started ends with them
    _end([one for one in runs.values() if _parent(one) not in runs])
    found = running()
    if found is not None:
        _end([found.supervisor])
    return end_left_over() or bool(runs) or found is not None


def end_flow_run(run: str) -> None:
    """End the processes of a flow run."""
    _end([one for one in processes() if _environment(one).get(FLOW_RUN) == run])


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
        _tell(process, signal.SIGTERM)
    for process in _outlived(some):
        _tell(process, signal.SIGKILL)
    _outlived(some)


def _tell(process: psutil.Process, what: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(what)


def _outlived(some: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run after a while. Zombies do not: in a container there may be nobody who waits for them."""
    end = time.monotonic() + ENDS_S
    while (left := [one for one in some if _is_alive(one)]) and time.monotonic() < end:
        time.sleep(0.1)
    return left


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _parent(process: psutil.Process) -> int | None:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.ppid()
    return None


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
