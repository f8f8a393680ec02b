"""What is left of a container's memory, by hand."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from segmodels.memory import available_bytes


def group(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text + "\n")


@pytest.fixture
def membership(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


def test_the_narrowest_of_the_groups_around_it_counts(tmp_path: Path, membership: Path) -> None:
    membership.write_text("0::/team/job\n")
    group(tmp_path / "team", {"memory.max": "1000", "memory.current": "400", "memory.stat": "anon 300\ninactive_file 100"})
    group(tmp_path / "team/job", {"memory.max": "max", "memory.current": "350", "memory.stat": "anon 300"})
    assert available_bytes(membership, tmp_path) == 700  # 1000 - 400, and 100 that only files are kept in
    group(tmp_path / "team/job", {"memory.max": "500", "memory.current": "350", "memory.stat": "anon 300"})
    assert available_bytes(membership, tmp_path) == 150


def test_in_a_container_its_group_is_the_root(tmp_path: Path, membership: Path) -> None:
    membership.write_text("0::/\n")
    group(tmp_path, {"memory.max": "2000", "memory.current": "2500", "memory.stat": "anon 2500"})
    assert available_bytes(membership, tmp_path) == 0


def test_the_older_groups_count_too(tmp_path: Path, membership: Path) -> None:
    membership.write_text("5:cpu,cpuacct:/x\n4:memory:/docker/abc\n")
    files = {"memory.limit_in_bytes": "900", "memory.usage_in_bytes": "500", "memory.stat": "total_inactive_file 50"}
    group(tmp_path / "memory", files)  # as a container sees its own, whatever its path is outside
    assert available_bytes(membership, tmp_path) == 450


def test_without_limits_it_is_what_the_machine_has(tmp_path: Path, membership: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 123})())
    assert available_bytes(membership, tmp_path) == 123
    membership.write_text("0::/\n")
    assert available_bytes(membership, tmp_path) == 123


def pages_cleared(prepared: str) -> int:
    """How many pages the system clears for a process that needs 40 MiB again and again, in its main thread and in another."""
    program = f"""
import resource, threading
from segmodels import memory
{prepared}
SIZE = 40 << 20
def use():
    for _ in range(3):
        b"x" * SIZE
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
thread = threading.Thread(target=use)
thread.start()
thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_what_is_freed_is_used_again() -> None:
    assert pages_cleared("") > 5 * (40 << 20) // 4096
    kept = "memory.keep_freed()"
    assert pages_cleared(f"memory.available_bytes = lambda: memory.PLENTY_BYTES\n{kept}") < (1 << 20) // 4096
    assert pages_cleared(f"memory.available_bytes = lambda: memory.PLENTY_BYTES - 1\n{kept}") > 5 * (40 << 20) // 4096
