"""One of the servers of this folder, as the supervisor starts it: `python -m flows.supervised mlflow|prefect|worker|watcher`.

What an earlier one left behind when it was killed is ended first: it would hold the port.
"""

import os
import socket
import sys
import time
from pathlib import Path

import httpx

from flows import servers
from segmodels.processes import die_with_parent


def main() -> None:
    """Becomes the server."""
    name = sys.argv[1]
    servers.end_left_over(name)
    die_with_parent()  # a supervisor that was killed leaves nothing behind
    if name in ("worker", "watcher"):
        _wait_for_prefect()
    if name == "watcher":
        from flows import watcher

        watcher.watch()
        return
    if name == "worker":
        from flows import deployments

        deployments.apply()
    os.execv(sys.executable, [sys.executable, "-m", *_command(name)])  # noqa: S606 no shell is what is wanted


def _command(name: str) -> list[str]:
    port = os.environ.get(servers.PORT[servers.MLFLOW if name == "mlflow" else servers.PREFECT], "")
    return {
        "mlflow": [
            *("mlflow", "server", "--host", servers.HOST, "--port", port, "--workers", "1"),
            *("--backend-store-uri", os.environ.get("MLFLOW_BACKEND_STORE_URI") or "sqlite:///mlflow.db"),
            # as files in this folder, where they lie without a server too
            *("--no-serve-artifacts", "--default-artifact-root", str(Path("mlruns").resolve())),
        ],
        "prefect": ["prefect", "server", "start", "--host", servers.HOST, "--port", port],
        "worker": ["prefect", "worker", "start", "--pool", servers.POOL, "--type", "process", "--name", socket.gethostname()],
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
