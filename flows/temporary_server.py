"""The Prefect server of one retraining, where PREFECT_API_URL names none. It ends with the process that it serves."""

import subprocess

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL


def start_if_needed() -> None:
    """Start what Prefect would start by itself, and have it end with this process however that ends.

    Prefect stops it at this process's exit, and leaves it to itself when this process is killed.
    """
    if PREFECT_API_URL.value():
        return
    server = SubprocessASGIServer()  # one for each process: Prefect's clients find it
    server.start()
    assert server.server_process is not None
    # the pipe closes when this process is no more
    watch = ["sh", "-c", 'cat; kill "$0" 2>/dev/null', str(server.server_process.pid)]
    subprocess.Popen(watch, stdin=subprocess.PIPE)
