"""How much of the machine's memory this process may still take: what is free, or what its container is allowed."""

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

if sys.platform == "linux":
    import resource

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
