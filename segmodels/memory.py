"""The machine's memory: how much of it this process may still take, and that it keeps what it has for what is to come."""

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

if sys.platform == "linux":
    import resource

PLENTY_BYTES = 8 << 30
MEMBERSHIP, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def available_bytes(membership: Path = MEMBERSHIP, groups: Path = GROUPS) -> int:
    """Of the machine and of every control group that the process is in, that of the least."""
    return min([psutil.virtual_memory().available, *_left(membership, groups)])


def bound() -> None:
    """Have this process fail to get what the machine has not, which it can answer; Linux would grant it, and end a process later.

    On Linux alone: others say no by themselves.
    """
    if sys.platform == "linux":
        wanted = psutil.Process().memory_info().data + available_bytes()
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (wanted if soft == resource.RLIM_INFINITY else min(soft, wanted), hard))


def keep_freed() -> None:
    """Have what is freed stay with this process: the system clears every page that it is asked for anew.

    A training asks for the same again in every step. Not where memory is scarce: what is kept lies in pieces, and a training that has to
    go on with smaller batches would find no room among them. Of glibc alone; elsewhere nothing changes.
    """
    if sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt") or available_bytes() < PLENTY_BYTES:
        return
    for option, value in (
        (-4, 0),  # M_MMAP_MAX: nothing is mapped for itself, to be unmapped when it is freed
        (-1, 2**31 - 1),  # M_TRIM_THRESHOLD: nor does the heap shrink
        (-2, 64 << 20),  # M_TOP_PAD: it grows by so much at once
        (-8, 1),  # M_ARENA_MAX: and is one for all threads, as those of threads would shrink all the same
    ):
        ctypes.CDLL(None).mallopt(option, value)


def _left(membership: Path, groups: Path) -> Iterator[int]:
    """What each control group has left, of both versions of Linux's cgroups; elsewhere nothing limits it so."""
    if not membership.is_file():
        return
    for line in membership.read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            base, limit, used, cached = groups, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            base, limit, used, cached = (
                groups / "memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            )
        else:
            continue
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(base) and (folder / limit).is_file():
                allowed = (folder / limit).read_text().strip()
                if allowed != "max":
                    # files that were read count as used, and make room when it is needed
                    kept = dict(map(str.split, (folder / "memory.stat").read_text().splitlines()))
                    yield max(0, int(allowed) - int((folder / used).read_text()) + int(kept.get(cached, 0)))
