"""DVC: the dataset, the stages' results and the cache. The only file that calls it."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import dvc.api
import psutil
from configobj import ConfigObj
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import SCMError

from segmodels import atomic
from segmodels.errors import InputError

MISTAKE = re.compile(r"exited with 2\b")
"""How DVC reports a stage that ended for a mistake in the input: trying again would end the same way."""
KILLED = re.compile(r"exited with (-\d+|137)\b")
"""And one that was killed: it goes on where it was."""

# without a stdout DVC keeps its chatter to itself; a stage's own output goes to the file descriptor all the same
_DVC = (
    sys.executable,
    "-c",
    "import sys; from segmodels.processes import die_with_parent; die_with_parent(); "
    "sys.stdout = None; from dvc.cli import main; sys.exit(main())",
)

# dvc.yaml says `python`: it is to be this one
_OURS_FIRST = {"PYTHONUNBUFFERED": "1", "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}


class StageError(Exception):
    """A stage failed. `mistake`: for a reason that a retry cannot mend. `killed`: it did not end by itself."""

    def __init__(self, stage: str, reason: str, *, mistake: bool, killed: bool) -> None:
        super().__init__(f"{stage}: {reason}")
        self.mistake, self.killed = mistake, killed


def forget_ended() -> None:
    """Let go of the files that DVC processes held when they were killed.

    DVC does so itself where the process's id is nobody's. That of a zombie is not, as killed processes stay in a container whose first
    process does not wait for orphans; nor is one that another process has by now, as in a new container on the same folder.
    """
    with repository() as repo, repo.lock:  # under which DVC notes who holds what
        noted = Path(str(repo.tmp_dir)) / "rwlock"
        if noted.is_file() and not any(_holds(pid, noted.stat().st_mtime) for pid in _noted(noted)):
            noted.unlink()


def _noted(path: Path) -> set[int]:
    """The processes that hold files, by DVC's notes; none if those have been cut off."""
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return set()
    readers = [reader for readers in notes.get("read", {}).values() for reader in readers]
    return {holder["pid"] for holder in [*notes.get("write", {}).values(), *readers]}


def _holds(pid: int, noted_s: float) -> bool:
    """Whether the process that was noted at `noted_s` (seconds since 1970) still runs."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= noted_s
    except psutil.NoSuchProcess:
        return False


def version_dataset(path: Path) -> bool:
    """Have DVC version the dataset as it is now; true if it is not what was versioned last.

    Raises:
        InputError: there is no dataset.
    """
    pointer = path.with_name(f"{path.name}.dvc")
    atomic.restore(path)
    if not path.is_dir():
        remedy = "`dvc pull` fetches it from your remote" if pointer.is_file() else "`make data SOURCE=<folder> FORMAT=<name>`"
        raise InputError(f"{path}: there is no dataset; {remedy}")
    if pointer.is_file():
        with repository() as repo:
            if not repo.status(targets=[str(pointer)]):
                return False
    run("add", str(path))
    return True


def dataset_hash(path: Path) -> str:
    """DVC's hash of the dataset as it lies there."""
    with repository() as repo:
        pointer = path.with_name(f"{path.name}.dvc")
        if pointer.is_file():
            [out] = repo.stage.collect(str(pointer))[0].outs
        else:
            [out] = repo.stage.create(fname=str(pointer), outs=[str(path)], single_stage=True).outs
        return str(out.get_hash().value)


def trained_on(path: Path) -> str | None:
    """DVC's hash of the dataset that the stages have run on, by dvc.lock; None before the first time."""
    with repository() as repo:
        for stage in repo.index.stages:
            for dependency in stage.deps:
                if Path(dependency.fs_path) == path.resolve():
                    return dependency.hash_info.value if dependency.hash_info else None
    return None


def stored(revision: str | None, path: Path) -> bytes:
    """A file of a stage's outputs as it was at a git revision, from DVC's cache or a remote; None: as it is now.

    Raises:
        InputError: no such revision, nothing of it there, or its data is not on this machine nor on a remote.
    """
    if revision is None:
        if not path.is_file():
            raise InputError(f"{path}: is not there yet; run `make retrain`")
        return path.read_bytes()
    try:
        content: bytes = dvc.api.read(str(path), rev=revision, mode="rb")
    except SCMError as error:
        raise InputError(f"{revision}: is no commit, tag or branch ({error})") from error
    except (DvcException, OSError) as error:
        raise InputError(
            f"{path} of {revision} cannot be had ({error}); commit dvc.lock after `make retrain`, and `dvc fetch` what only a remote has"
        ) from error
    return content


def remote_config() -> str:
    """What another machine's clone needs in `.dvc/config.local` to reach the default remote.

    Raises:
        InputError: there is none.
    """
    with repository() as repo:
        name = repo.config["core"].get("remote")
        if not name:
            raise InputError(
                "there is no DVC remote that other machines reach; dvc remote add --default storage ssh://host/folder"
            )
        remote = {key: value for key, value in repo.config["remote"][name].items() if value is not None}
    # what was cut off as it was copied over SSH lies there under its name
    written = ConfigObj({"core": {"remote": name}, f'remote "{name}"': remote | {"verify": True}})
    return "\n".join([*written.write(), ""])


def share_cache(clone: Path) -> None:
    """Have a clone of this repository use its DVC cache, and its remotes."""
    with repository() as repo:
        cache = repo.cache.local_cache_dir
    local = Path(".dvc/config.local")
    if local.is_file():  # where remotes and how to reach them may stand
        shutil.copy(local, clone / local)
    run("cache", "dir", "--local", cache, folder=clone)


def collect_garbage(also_used_by: Sequence[Path]) -> int:
    """Remove from DVC's cache what neither this folder, nor a branch or tag, nor another clone uses; returns the bytes that are free now.

    Raises:
        InputError: other folders may use the cache; or the list of what a folder holds is neither in the cache nor on a remote: what lies in it
            could not be told from garbage.
    """
    with repository() as repo:
        cache = Path(repo.cache.local_cache_dir)
        own = Path(str(repo.dvc_dir))
    if not cache.is_relative_to(own):
        raise InputError(f"nothing was removed: the cache is {cache}, which other folders may use; see `dvc gc --help`")
    before = _size(cache)
    # not the command, which asks, and with `--force` takes a folder without its list for an empty one
    collect = (
        "import sys; from dvc.repo import Repo; Repo().gc(workspace=True, all_branches=True, all_tags=True, repos=sys.argv[1:])"
    )
    command = [sys.executable, "-c", collect, *map(str, also_used_by)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if "dvc.exceptions" in line]
        raise InputError(
            f"nothing was removed, as {'; '.join(said) or done.stderr}; `dvc fetch` it, or remove the branch or version"
        )
    return before - _size(cache)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


@contextlib.contextmanager
def repository(folder: Path | None = None) -> Iterator[Repo]:
    """DVC's view of this folder, or of another clone.

    Raises:
        InputError: it cannot go on.
    """
    try:
        with Repo(None if folder is None else str(folder)) as repo:
            yield repo
    except DvcException as error:
        raise InputError(f"DVC cannot go on: {error}") from error


def run(*arguments: str, relayed: bool = False, environment: dict[str, str] | None = None, folder: Path | None = None) -> None:
    """Run a DVC command in a process of its own: two in one process would share its state and its lock."""
    process = subprocess.Popen(
        [*_DVC, "--wait-for-lock", *arguments],
        stdout=subprocess.PIPE if relayed else None,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        cwd=folder,
        env=os.environ | _OURS_FIRST | (environment or {}),
    )
    said: deque[str] = deque(maxlen=40)
    readers = [threading.Thread(target=_relay, args=(process.stderr, sys.stderr, said))]
    if relayed:
        readers.append(threading.Thread(target=_relay, args=(process.stdout, sys.stdout, None)))
    for reader in readers:
        reader.start()
    try:
        code = process.wait()
    finally:
        if process.poll() is None:  # interrupted
            process.terminate()
            process.wait()
        for reader in readers:
            reader.join()
    if code != 0:
        text = "".join(said)
        reason = _reason(said) or f"dvc {' '.join(arguments)} ended with {code}"
        killed = code < 0 or KILLED.search(text) is not None
        raise StageError(arguments[-1], reason, mistake=MISTAKE.search(text) is not None, killed=killed)


def _relay(source: IO[str] | None, sink: IO[str], said: deque[str] | None) -> None:
    """Pass lines on as they come, and keep the last of them."""
    assert source is not None
    for line in source:
        if said is not None:
            said.append(line)
        sink.write(line)
        sink.flush()


def _reason(said: Sequence[str]) -> str:
    """The last thing said before DVC's own words, which only repeat that a command failed."""
    own = [line.strip() for line in said if line.strip() and not line.startswith(("ERROR:", "WARNING:"))]
    return own[-1].removeprefix("error: ") if own else " ".join(line.strip() for line in said if line.startswith("ERROR:"))
