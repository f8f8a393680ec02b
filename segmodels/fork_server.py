"""Stages that begin at once: forks of one process, which has imported what takes each of them seconds to import.

DVC starts a stage as ever. That process hands on what it was to do, with its arguments, variables, folder and standard streams, to a
fork of the server, and ends as that ends: with its exit code, or by its signal. Whoever kills it kills the fork (the kernel sees to
that), and whoever kills the server both. A server that cannot fork leaves the work to who asked.

Linux only: nothing else tells a process of another's end in time.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from segmodels import console, environment
from segmodels.processes import die_with_parent, ending_soon

SOCKET = "SEGMODELS_FORK_SERVER"
"""The variable that says where the server listens."""
F_SETSIG = 10  # of Linux; Python's fcntl does not name it


@contextlib.contextmanager
def running(address: Path, modules: Sequence[str], environment: Mapping[str, str]) -> Iterator[None]:
    """A server for what is started in the block.

    Args:
        address: the socket to make; of this user alone.
        modules: what to import.
        environment: variables as its forks will have them: some are read by an import, and never again.
    """
    if sys.platform != "linux":
        yield
        return
    address.parent.mkdir(parents=True, exist_ok=True)
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        address.chmod(0o600)
        listener.listen(64)  # who asks early waits for the imports here
        server = subprocess.Popen(
            [sys.executable, "-m", "segmodels.fork_server", str(listener.fileno()), *modules],
            env=os.environ | environment | {"PYTHONUNBUFFERED": "1"},  # who looks on is to see every line as it comes
            stdin=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )
    os.environ[SOCKET] = str(address)
    try:
        yield
    finally:
        del os.environ[SOCKET]
        server.terminate()
        server.wait()
        address.unlink(missing_ok=True)


def hand_over() -> None:
    """Have a fork of the server do what this process was started for, and end as it ends; returns if there is no server, or it will not."""
    address = os.environ.pop(SOCKET, None)
    if address is None:
        return
    request = {"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": str(Path.cwd()), "group": os.getpgrp()}
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(address)
            socket.send_fds(connection, [b"\n"], [0, 1, 2])
            connection.sendall(json.dumps(request).encode() + b"\n")
            answers = connection.makefile("rb")
            fork = int(answers.readline() or 0)
        except (ConnectionError, FileNotFoundError):
            return
        if not fork:
            return
        die_with_parent()  # as the fork would, were it DVC's
        signal.signal(signal.SIGTERM, lambda number, _: os.kill(fork, number))
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's reaches the fork too, which says what is to be said
        code = -signal.SIGKILL  # if the server is killed, so is the fork
        with contextlib.suppress(ConnectionError, ValueError):
            code = int(answers.readline())
    if code < 0:
        with contextlib.suppress(OSError):  # of SIGKILL, which nobody handles
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def serve(listener: socket.socket, modules: Sequence[str]) -> None:
    """Import `modules`, then fork for whoever asks; returns in each fork when that is done, and in the server after Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    code = _code()
    for module in modules:
        importlib.import_module(module)
    gc.freeze()  # what a collection never looks at is never copied into a fork
    if _forks_are_fit():
        connection = _asked(listener, code)
        if connection is not None:
            _become(connection)
            runpy.run_module("segmodels", run_name="__main__", alter_sys=True)


def _code() -> dict[Path, int]:
    """When each of our modules was written: a fork of older ones would not do what DVC notes that it did."""
    return {path: path.stat().st_mtime_ns for path in Path(__file__).parent.rglob("*.py")}


def _forks_are_fit() -> bool:
    """Whether a fork could use a GPU: not if an import has asked CUDA for something."""
    pid = os.fork()
    if pid == 0:
        torch = sys.modules.get("torch")
        os._exit(int(torch is not None and torch.cuda._is_in_bad_fork()))
    return os.waitpid(pid, 0)[1] == 0


def _asked(listener: socket.socket, code: dict[Path, int]) -> socket.socket | None:
    """In a fork: the connection of who asked for it; in the server: None, after Ctrl-C, when no fork is left."""
    forks: dict[int, tuple[int, socket.socket]] = {}
    interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        interrupted = True
        if not forks:  # nothing would wake the loop
            sys.exit(130)

    signal.signal(signal.SIGINT, interrupt)
    with selectors.DefaultSelector() as waiting, listener:
        waiting.register(listener, selectors.EVENT_READ)
        while forks or not interrupted:
            for descriptor in [key.fd for key, _ in waiting.select()]:
                if descriptor != listener.fileno():
                    waiting.unregister(descriptor)
                    _tell_the_end(descriptor, *forks.pop(descriptor))
                    continue
                connection, _ = listener.accept()
                if interrupted or _code() != code:
                    connection.close()
                    continue
                pid = os.fork()
                if pid == 0:
                    for other, (_, theirs) in forks.items():  # or they would not learn of each other's end
                        os.close(other)
                        theirs.close()
                    return connection
                ended = os.pidfd_open(pid)
                forks[ended] = pid, connection
                waiting.register(ended, selectors.EVENT_READ)
    return None


def _tell_the_end(descriptor: int, pid: int, connection: socket.socket) -> None:
    os.close(descriptor)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with connection, contextlib.suppress(OSError):
        connection.sendall(b"%d\n" % code)


def _become(connection: socket.socket) -> None:
    """Take the place of who asked."""
    import fcntl  # which Windows lacks

    die_with_parent()
    # and with who asked: the kernel sends the signal as the connection closes, whatever this process does just then
    fcntl.fcntl(connection, F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(connection, fcntl.F_SETOWN, os.getpid())
    with connection.makefile("rb", buffering=0) as asked:
        _, streams, _, _ = socket.recv_fds(connection, 1, 3)
        request: dict[str, Any] = json.loads(asked.readline())
    connection.sendall(b"%d\n" % os.getpid())
    fcntl.fcntl(connection, fcntl.F_SETFL, fcntl.fcntl(connection, fcntl.F_GETFL) | os.O_ASYNC)
    with contextlib.suppress(BlockingIOError):
        if not connection.recv(1, socket.MSG_DONTWAIT):  # closed before the kernel was told
            sys.exit(1)
    connection.detach()  # open as long as this process is
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv[1:] = request["arguments"]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setpgid(0, request["group"])  # a terminal tells a group of a Ctrl-C
    importlib.reload(console)  # it has looked at the streams


if __name__ == "__main__":
    die_with_parent()
    environment.apply()
    with ending_soon():
        serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
