"""A disk that fills while a stage writes: said in a sentence, and nothing half-written is taken for whole."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import clean_environment


def run_on_small_disk(
    *arguments: str, cwd: Path, disk: Path, size: str, code: int, raw: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a verb with a disk of `size` mounted at `disk` for it alone, with a link `raw` on it; afterwards lists the disk's files."""
    disk.mkdir(parents=True, exist_ok=True)
    script = """
        mount -t tmpfs -o size="$1" tmpfs "$2" || exit 77
        [ -z "$RAW" ] || ln -s "$RAW" "$2/raw"
        cd "$3"; shift 3
        "$@"; code=$?
        find "$DISK" -type f
        exit $code
    """
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", size, str(disk), str(cwd)]
    done = subprocess.run(
        [*command, sys.executable, "-m", "segmodels", *arguments],
        capture_output=True,
        text=True,
        env=clean_environment(DISK=str(disk), RAW=str(raw or "")),
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()}")
    assert done.returncode == code, done.stdout + done.stderr
    if code == 1:
        assert "the disk is full" in done.stderr
        assert "Traceback" not in done.stderr
    return done


def left(done: subprocess.CompletedProcess[str], disk: Path) -> set[str]:
    """What a run left on its disk, names only."""
    return {Path(line).name for line in done.stdout.splitlines() if line.startswith(f"{disk}{os.sep}")}


def test_a_dataset_is_drawn_whole_or_not_at_all(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    done = run_on_small_disk("shapes", "disk/drawn", "--count", "50", cwd=tmp_path, disk=disk, size="200k", code=1)
    assert left(done, disk) == set()


# the images of 24 x 48 x 64 pixels take 216 KiB, the masks 72; the manifest and the classes come last
@pytest.mark.parametrize(("size", "code"), [("4k", 1), ("100k", 1), ("250k", 1), ("296k", 1), ("10m", 0)])
def test_a_dataset_is_prepared_whole_or_not_at_all(drawn: Path, params_file: Path, tmp_path: Path, size: str, code: int) -> None:
    disk = tmp_path / "data"
    done = run_on_small_disk("prepare", cwd=tmp_path, disk=disk, size=size, code=code, raw=drawn)
    found = {re.sub(r"-[0-9a-f]{16}", "", name) for name in left(done, disk)}
    whole = {
        "images.bin",
        "masks.bin",
        "manifest.parquet",
        "dataset.json",
        "leaks.json",
        "census.json",
        "census.png",
        "suspects.json",
    }
    assert found == (set() if code else whole)


@pytest.mark.parametrize("size", ["40k", "150k", "280k"])
def test_a_shard_is_kept_whole_or_not_at_all(drawn: Path, params_file: Path, tmp_path: Path, size: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "raw").symlink_to(drawn)
    disk = tmp_path / ".segmodels"
    done = run_on_small_disk("prepare", cwd=tmp_path, disk=disk, size=size, code=1)
    assert left(done, disk) <= {"ledger.db", "lock"}
    assert os.listdir(tmp_path / "data") == ["raw"]
