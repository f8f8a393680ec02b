"""The working tree as git has it, whatever a person's settings are: what is made from it can be made again."""

import subprocess
from pathlib import Path

import pytest

from flows import snapshot
from segmodels.errors import InputError
from tests.conftest import PARAMS, make_project
from tests.pipeline.projects import Project


def git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = make_project(tmp_path / "project", PARAMS)
    monkeypatch.chdir(folder)
    return folder


def test_what_was_changed_comes_back_in_a_clone_and_nothing_secret_does(project: Path, tmp_path: Path) -> None:
    for setting in (("color.ui", "always"), ("diff.noprefix", "true"), ("diff.external", "/bin/true")):
        git("config", *setting)
    (project / "params.yaml").write_text(PARAMS + "# mine, ä\n")
    (project / "segmodels" / "losses" / "mine.py").write_text("# new\n")
    (project / ".env").write_text("PASSWORD=secret\n")
    (project / "data").mkdir(exist_ok=True)
    (project / "data" / "raw.dvc").write_text("outs: []\n")
    status = git("status", "--short")
    tree = snapshot.taken()
    assert tree is not None and "secret" not in tree.patch
    assert git("status", "--short") == status  # the person's own index is as it was
    snapshot.check_out(tree, tmp_path / "clone")
    for name in ("params.yaml", "segmodels/losses/mine.py", "data/raw.dvc"):
        assert (tmp_path / "clone" / name).read_bytes() == (project / name).read_bytes()
    assert not (tmp_path / "clone" / ".env").exists()


def test_a_commit_that_was_amended_can_still_be_checked_out(project: Path, tmp_path: Path) -> None:
    tree = snapshot.taken()
    assert tree is not None and tree.patch == ""
    git("commit", "-q", "--amend", "-m", "another")
    git("reflog", "expire", "--expire=now", "--all")
    git("gc", "-q", "--prune=now")
    snapshot.check_out(tree, tmp_path / "clone")
    assert (tmp_path / "clone" / "params.yaml").read_text() == PARAMS
    with pytest.raises(InputError, match="commit 0123 is not in this repository; `git fetch` it"):
        snapshot.check_out(snapshot.Tree("0123", ""), tmp_path / "other")


def test_where_git_does_not_tell_it_is_said_and_is_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert snapshot.taken() is None
    assert "no version of it can be reproduced: fatal: not a git repository" in capfd.readouterr().err


def test_the_bundle_of_the_tree_is_the_same_commit_each_time_and_moves_no_branch(project: Path) -> None:
    (project / "params.yaml").write_text(PARAMS + "# mine\n")
    before = git("rev-parse", "HEAD")
    snapshot.bundled()
    first = git("rev-parse", snapshot.REFERENCE)
    snapshot.bundled()
    assert git("rev-parse", snapshot.REFERENCE) == first != before
    assert git("rev-parse", f"{first}^") == before == git("rev-parse", "HEAD")


def test_the_cache_is_not_cleaned_by_a_registry_without_versions(project: Path, drawn: Path) -> None:
    made = Project(project)
    made.make("data", f"SOURCE={drawn}")
    cache = project / ".dvc" / "cache" / "files"
    before = sorted(path.name for path in cache.rglob("*"))
    said = made.make("clean-cache", code=2)
    assert "nothing was removed: the registry at sqlite:///mlflow.db has no version of tiny" in said
    assert sorted(path.name for path in cache.rglob("*")) == before
