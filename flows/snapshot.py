"""The working tree, committed or not: what a retraining is made from is kept with its versions, and sent to other machines."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from segmodels import console
from segmodels.errors import InputError

REFERENCE = "refs/segmodels/snapshot"
_KEPT = "refs/segmodels/made-from"
_OWN = (
    "segmodels",
    "flows",
    "params.yaml",
    "dvc.yaml",
    "dvc.lock",
    "data/raw.dvc",
    ".dvc/config",
    ".dvcignore",
    "pyproject.toml",
)
"""What is taken though git does not know it yet. Nothing else is: it may be secret, or large."""


@dataclass(frozen=True)
class Tree:
    """A commit, and how the working tree differs from it, as a patch."""

    commit: str
    patch: str


def taken() -> Tree | None:
    """The working tree as it is; None, and said, where it cannot be told: that is no reason not to train."""
    try:
        commit = _git("rev-parse", "HEAD")
        with _index() as environment:
            # spelt out: a person's own settings would have it in colours, or by a program of theirs
            plain = ("--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/")
            patch = _git("diff-index", "-p", "--binary", "--full-index", "--cached", *plain, "HEAD", environment=environment)
        _git("update-ref", f"{_KEPT}/{commit}", commit)  # or an amended commit is gone some day
    except (OSError, subprocess.CalledProcessError, UnicodeDecodeError) as error:
        console.error(f"git does not say what this is made from, so that no version of it can be reproduced: {_reason(error)}")
        return None
    return Tree(commit, patch)


def check_out(tree: Tree, clone: Path) -> None:
    """The working tree as it was, in a new clone.

    Raises:
        InputError: its commit is not in this repository, or the patch does not fit it.
    """
    try:
        _git("cat-file", "-e", f"{tree.commit}^{{commit}}")
    except subprocess.CalledProcessError as error:
        raise InputError(f"commit {tree.commit} is not in this repository; `git fetch` it") from error
    try:
        _git("clone", "-q", "--shared", "--no-checkout", ".", str(clone))  # with commits that are on no branch any more
        _git("-C", str(clone), "checkout", "-q", "--detach", tree.commit)
        if tree.patch:
            _git("-C", str(clone), "apply", "--whitespace=nowarn", "-", given=tree.patch)
    except subprocess.CalledProcessError as error:
        raise InputError(f"commit {tree.commit} and what was changed on it cannot be checked out: {_reason(error)}") from error


def bundled() -> bytes:
    """A git bundle whose `REFERENCE` is the working tree: HEAD itself, or a commit on it. No branch is moved.

    Raises:
        InputError: git refuses.
    """
    try:
        with _index() as environment:
            tree = _git("write-tree", environment=environment)
        commit = _git("rev-parse", "HEAD")
        if tree != _git("rev-parse", "HEAD^{tree}"):
            commit = _committed(tree, commit)
        _git("update-ref", REFERENCE, commit)
        return subprocess.run(["git", "bundle", "create", "-q", "-", REFERENCE], check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(f"git cannot pack the working tree for other machines: {_reason(error)}") from error


def _committed(tree: str, parent: str) -> str:
    """The same tree is the same commit: its time is its parent's."""
    when = _git("show", "-s", "--format=%cI", parent)
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in _WHO.items()}
    who |= {"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when}
    return _git("commit-tree", tree, "-p", parent, "-m", "The working tree of a retraining", environment=os.environ | who)


_WHO = {"NAME": "segmodels", "EMAIL": "segmodels@localhost"}


@contextmanager
def _index() -> Iterator[Mapping[str, str]]:
    """Variables that have git use another index than the person's, which holds the working tree."""
    with tempfile.TemporaryDirectory() as work:
        environment = os.environ | {"GIT_INDEX_FILE": str(Path(work) / "index")}
        _git("read-tree", "HEAD", environment=environment)
        _git("add", "-u", environment=environment)
        _git("add", "--", *(path for path in _OWN if Path(path).exists()), environment=environment)
        yield environment


def _git(*arguments: str, environment: Mapping[str, str] | None = None, given: str | None = None) -> str:
    """What git says, without the end of its only line; a patch keeps its own."""
    done = subprocess.run(
        ["git", *arguments], check=True, capture_output=True, env=environment, input=given.encode() if given is not None else None
    )
    said = done.stdout.decode()
    return said if arguments[0] == "diff-index" else said.strip()


def _reason(error: Exception) -> str:
    """In one line."""
    said = (
        error.stderr.decode(errors="replace") if isinstance(error, subprocess.CalledProcessError) and error.stderr else str(error)
    )
    return said.strip().splitlines()[-1] if said.strip() else type(error).__name__
