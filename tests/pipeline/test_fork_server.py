"""Stages as forks of a server: with what they were given, and ended when any of those concerned is."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from segmodels import fork_server
from tests.conftest import PARAMS, clean_environment, make_project

MODULES = ("segmodels.train", "segmodels.decisions", "segmodels.progress", "segmodels.tracking", "segmentation_models_pytorch")
LONG = PARAMS.replace("epochs: 2", "epochs: 5000")


@pytest.fixture(scope="module")
def project(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the program and a prepared dataset."""
    folder = make_project(tmp_path_factory.mktemp("forks") / "p", PARAMS)
    (folder / "data").mkdir()
    (folder / "data" / "raw").symlink_to(drawn)
    for verb in (["prepare"], ["augment", "light"]):
        subprocess.run([sys.executable, "-m", "segmodels", *verb], cwd=folder, env=clean_environment(), check=True)
    return folder


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[psutil.Process]:
    with running(project, MODULES) as found:
        yield found


@pytest.fixture
def short_lived(project: Path) -> Iterator[psutil.Process]:
    with running(project, MODULES) as found:
        yield found


@contextlib.contextmanager
def running(project: Path, modules: Sequence[str]) -> Iterator[psutil.Process]:
    """`fork_server.running`, as a program in a project's folder has it; yields the server."""
    program = (
        "import sys; from pathlib import Path; from segmodels import fork_server\n"
        "with fork_server.running(Path('forks.socket'), sys.argv[1:], {}):\n"
        "    print('listens', flush=True); input()"
    )
    user = subprocess.Popen(
        [sys.executable, "-c", program, *modules],
        cwd=project,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert user.stdout is not None and user.stdout.readline() == "listens\n"
    [found] = psutil.Process(user.pid).children()
    yield found
    user.communicate("\n")
    assert user.returncode == 0


def asked(project: Path, *arguments: str, own_group: bool = False, **environment: str) -> subprocess.Popen[str]:
    """A verb, as DVC starts it."""
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "segmodels", *arguments],
        cwd=project,
        env=clean_environment(COLUMNS="200", NO_COLOR="1", **{fork_server.SOCKET: "forks.socket"}) | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0 if own_group else None,
    )


def training(project: Path, server: psutil.Process, *, own_group: bool = False) -> tuple[subprocess.Popen[str], psutil.Process]:
    """One that trains for long, and the fork that does; it has learned an epoch."""
    shutil.rmtree(project / ".segmodels" / "checkpoints", ignore_errors=True)
    (project / "params.yaml").write_text(LONG)
    process = asked(project, "train", "pspnet", own_group=own_group)
    assert process.stdout is not None
    next(line for line in process.stdout if "epoch 1 of 5000" in line)
    assert psutil.Process(process.pid).children() == []
    [fork] = server.children()
    return process, fork


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """The exit code of what is to end within seconds, and what it said since."""
    said, told = process.communicate(timeout=10)
    return process.returncode, said, told


def is_over(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # meanwhile
        return True


def within(seconds: float, is_so: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def test_a_fork_does_what_was_asked_for_and_is_no_other_than_a_process_of_its_own(project: Path, server: psutil.Process) -> None:
    (project / "params.yaml").write_text(PARAMS)
    own = subprocess.run(
        [sys.executable, "-m", "segmodels", "params"],
        cwd=project,
        env=clean_environment(COLUMNS="200", NO_COLOR="1"),
        capture_output=True,
        text=True,
        check=True,
    )
    process = asked(project, "params")
    assert process.communicate() == (own.stdout, own.stderr) and process.returncode == 0
    process = asked(project, "train", "unett")
    said, told = process.communicate()
    assert process.returncode == 2 and said == "" and "there is no 'unett'" in told
    process = asked(project, "train", "pspnet")
    assert "pspnet: epoch 2 of 2: loss" in process.communicate()[0] and process.returncode == 0
    assert (project / "bundles" / "pspnet" / "bundle.json").is_file()
    assert within(5, lambda: server.children() == [])


def test_its_variables_are_those_of_who_asked(project: Path, server: psutil.Process) -> None:
    other = project.parent / "other.db"
    process = asked(project, "train", "pspnet", MLFLOW_TRACKING_URI=f"sqlite:///{other}")
    assert process.communicate()[1] == "" and other.is_file()


def test_who_kills_who_asked_kills_the_fork(project: Path, server: psutil.Process) -> None:
    process, fork = training(project, server)
    fork.suspend()  # the kernel does it, not the fork itself
    process.kill()
    assert ended(process)[0] == -signal.SIGKILL
    assert within(5, lambda: is_over(fork))


def test_it_does_not_outlive_the_one_that_started_it(project: Path, server: psutil.Process) -> None:
    (project / "params.yaml").write_text(LONG)
    program = f"import subprocess; subprocess.run({[sys.executable, '-m', 'segmodels', 'train', 'pspnet']})"
    environment = clean_environment(**{fork_server.SOCKET: "forks.socket"})
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=project, stdout=subprocess.PIPE, text=True, env=environment
    ) as dvc:
        assert dvc.stdout is not None
        next(line for line in dvc.stdout if "epoch" in line)
        involved = [*psutil.Process(dvc.pid).children(), *server.children()]
        assert len(involved) == 2
        dvc.kill()
        assert within(5, lambda: all(map(is_over, involved)))


def test_who_kills_the_fork_kills_who_asked_by_the_same_signal(project: Path, server: psutil.Process) -> None:
    for number in (signal.SIGKILL, signal.SIGSEGV):
        process, fork = training(project, server)
        fork.send_signal(number)
        assert ended(process)[0] == -number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_told_to_end_keeps_what_it_has_learned(
    project: Path, server: psutil.Process, number: signal.Signals
) -> None:
    process, fork = training(project, server, own_group=True)
    if number == signal.SIGINT:
        assert os.getpgid(fork.pid) == process.pid  # as a terminal tells the whole group
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    code, said, told = ended(process)
    assert "what it has learned is saved: up to epoch" in said + told and code == 130


def test_who_kills_the_server_kills_all_and_the_next_do_it_themselves(project: Path, short_lived: psutil.Process) -> None:
    process, fork = training(project, short_lived)
    short_lived.kill()
    assert ended(process)[0] == -signal.SIGKILL
    assert within(5, lambda: is_over(fork))
    (project / "params.yaml").write_text(PARAMS)
    process = asked(project, "params")
    assert process.communicate()[0] != "" and process.returncode == 0


def test_code_that_has_changed_meanwhile_is_not_what_the_fork_would_run(project: Path) -> None:
    # imports little: it is ready at once
    with running(project, ["segmodels.params"]) as server:
        process = asked(project, "params")
        before, _ = process.communicate()
        module = project / "segmodels" / "params.py"
        text = module.read_text()
        try:
            module.write_text(text + "\n\ndef to_yaml(params: Params) -> str:\n    return 'as it is written now'\n")
            process = asked(project, "params")
            assert process.communicate()[0] == "as it is written now" != before
        finally:
            module.write_text(text)
        assert server.is_running()


def test_nobody_else_may_ask_and_nothing_is_left(project: Path) -> None:
    with running(project, []) as server:
        assert (project / "forks.socket").stat().st_mode & 0o777 == 0o600
    assert not server.is_running() and not (project / "forks.socket").exists()


def test_a_server_that_cannot_import_leaves_the_work_to_who_asked(project: Path) -> None:
    with running(project, ["there_is_no_such_module"]) as server:
        assert within(10, lambda: server.status() == psutil.STATUS_ZOMBIE)
        process = asked(project, "params")
        assert "project: tiny" in process.communicate()[0] and process.returncode == 0
