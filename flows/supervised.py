"""One of the servers of this folder, as the supervisor starts it: `python -m flows.supervised mlflow|prefect|worker|watcher`.

What an earlier one left behind when it was killed is ended first: it would hold the port.
"""

import os
import socket
import sys
import time
from pathlib import Path

import httpx
import psutil

from flows import servers
from segmodels import console
from segmodels.errors import InputError
from segmodels.processes import die_with_parent


def main() -> None:
    """Becomes the server."""
    name, supervisor = sys.argv[1], os.getppid()
    die_with_parent()  # a supervisor that was killed leaves nothing behind
    if os.getppid() != supervisor or not psutil.pid_exists(supervisor):
        sys.exit("the supervisor has ended")
    servers.end_left_over(name)
    os.environ |= _DEFAULTS.get(name, {}) | {key: value for key, value in os.environ.items() if value}
    if name in ("worker", "watcher"):
        _wait_for_prefect()
    if name == "watcher":
        from flows import watcher

        watcher.watch()
        return
    if name == "worker":
        from flows import deployments

        try:
            deployments.apply()
        except InputError as error:  # what was deployed before still runs, and says what is wrong
            console.error(str(error))
    os.execv(sys.executable, [sys.executable, "-m", *_command(name)])  # noqa: S606 no shell is what is wanted


_DEFAULTS = {
    # in the environment, as it may hold a password, and everyone sees the arguments of a process
    "mlflow": {"MLFLOW_BACKEND_STORE_URI": "sqlite:///mlflow.db"},
    # in memory, as is usual, a server that is started again knows of no flow run that it had let begin, and ends them
    "prefect": {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"},
}


def _command(name: str) -> list[str]:
    port = os.environ.get(servers.PORT[servers.MLFLOW if name == "mlflow" else servers.PREFECT], "")
    return {
        "mlflow": [
            *("mlflow", "server", "--host", servers.HOST, "--port", port, "--workers", "1"),
            # as files in this folder, where they lie without a server too
            *("--no-serve-artifacts", "--default-artifact-root", str(Path("mlruns").resolve())),
        ],
        "prefect": ["prefect", "server", "start", "--host", servers.HOST, "--port", port],
        "worker": ["prefect", "worker", "start", "--pool", servers.pool(), "--type", "process", "--name", socket.gethostname()],
    }[name]


def _wait_for_prefect() -> None:
    while True:
        try:
            if httpx.get(f"{os.environ[servers.PREFECT]}/health", timeout=5).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)


if __name__ == "__main__":
    main()
