"""Dataset and results on a remote: what one machine pushes another pulls, bit for bit, and nothing need be made again."""

import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from segmodels import shapes
from tests.conftest import PARAMS, make_project
from tests.pipeline.projects import Project

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Mapping[str, str]]]:
    """A real SSH server on loopback, with keys of its own: its address, and the environment of who may log in."""
    if SSHD is None:
        pytest.skip("there is no sshd: apt-get install openssh-server")
    folder = tmp_path_factory.mktemp("ssh")
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    for key in (folder / "host_key", home / ".ssh" / "id_ed25519"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    host_key = (folder / "host_key.pub").read_text().split()[:2]
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {' '.join(host_key)}\n")
    (folder / "config").write_text(
        f"""
        ListenAddress 127.0.0.1
        Port {port}
        HostKey {folder / "host_key"}
        AuthorizedKeysFile {home / ".ssh" / "id_ed25519.pub"}
        PasswordAuthentication no
        PermitRootLogin prohibit-password
        StrictModes no
        UsePAM no
        PidFile none
        Subsystem sftp internal-sftp
        """
    )
    Path("/run/sshd").mkdir(exist_ok=True)  # where it is taken to by its own account; Debian makes it at boot
    command = [SSHD, "-D", "-e", "-f", str(folder / "config")]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        until = time.monotonic() + 30
        while "listening" not in (folder / "log").read_text():
            assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.05)
        yield f"ssh://{os.environ.get('USER', 'root')}@127.0.0.1:{port}{folder / 'storage'}", {"HOME": str(home)}
        process.terminate()


def hashes(folder: Path) -> dict[str, str]:
    """Of every file of the dataset and what was prepared from it."""
    data = folder / "data"
    return {
        path.relative_to(data).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(data.rglob("*"))
        if path.is_file() and path.suffix != ".dvc"
    }


def git(*arguments: str, cwd: Path) -> None:
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *arguments], cwd=cwd, check=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "ssh"])
def test_what_is_pushed_is_pulled_elsewhere(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    environment: Mapping[str, str] = {}
    address = str(tmp_path / "storage")
    if kind == "ssh":
        address, environment = request.getfixturevalue("server")
    shapes.write(tmp_path / "source", count=24, size_px=(48, 64), seed=3)
    one = Project(make_project(tmp_path / "one", PARAMS))
    assert "there is no remote yet" in one.make("push", code=2, environment=environment)
    one.make("data", f"SOURCE={tmp_path / 'source'}", environment=environment)
    one.dvc("repro", "prepare", "augment@light", environment=environment)
    one.dvc("remote", "add", "--default", "storage", address, environment=environment)
    git("add", "-A", cwd=one.folder)
    git("commit", "-qm", "data", cwd=one.folder)
    one.make("push", environment=environment)
    git("clone", "-q", str(one.folder), "two", cwd=tmp_path)
    two = Project(tmp_path / "two")
    two.make("pull", environment=environment)
    assert len(hashes(two.folder)) > 50
    assert hashes(two.folder) == hashes(one.folder)
    again = two.dvc("repro", "prepare", "augment@light", environment=environment)
    assert "Stage 'prepare' didn't change, skipping" in again and "Running stage" not in again
