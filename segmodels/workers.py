"""Work done by other processes, several at once, which may crash or hang without taking this one along.

What strangers' files make a decoder do is not ours to know: a worker that dies, or does not come back, costs its own task alone.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import psutil
from pebble import ProcessExpired, ProcessPool

from segmodels import bounds

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

Task = TypeVar("Task")
Result = TypeVar("Result")

PRELOADED = ["segmodels.shards"]
"""Imported once, by the process that the workers are forked from."""
AHEAD = 4


@dataclass(frozen=True)
class Ended:
    """Instead of a result: how the worker ended."""

    how: str


def cores() -> int:
    """How many processes can run at once: the cores that this one may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def bound(memory_bytes: int, pixels: int) -> None:
    """A worker's beginning: have a file that asks for more memory than the machine has end in an error of its own, not in the kernel ending others."""
    bounds.set_max_pixels(pixels)
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def each(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    processes: int | None = None,
    seconds: Callable[[Task], float],
    ahead: int = AHEAD,
) -> Iterator[Result | Ended]:
    """The results in the order of the tasks, as they are wanted.

    Args:
        function: of a module, so that a worker can import it.
        processes: how many at once; as many as there are cores if None.
        seconds: how long a task may take.
        ahead: how many tasks a worker may be ahead of who takes their results, which wait in this process.

    A worker has half of the machine's memory at most.

    Raises:
        Exception: what the function raised.
    """
    context = multiprocessing.get_context("forkserver")  # a fork of this process, which has threads, may hang
    context.set_forkserver_preload(PRELOADED)
    count = min(processes or cores(), max(1, len(tasks)))
    pool = ProcessPool(
        max_workers=count,
        context=context,
        initializer=bound,
        initargs=[psutil.virtual_memory().total // 2, bounds.max_pixels()],
    )
    try:
        waiting = deque[Any]()
        for position, task in enumerate(tasks):
            for one in tasks[position + len(waiting) : position + ahead * count]:
                waiting.append(pool.schedule(function, args=[one], timeout=seconds(one)))
            future = waiting.popleft()
            try:
                yield future.result()
            except ProcessExpired as expired:
                yield Ended(f"ended the process that read it (exit code {expired.exitcode})")
            except TimeoutError:
                yield Ended(f"was not read within {seconds(task):.0f} s")
    finally:
        pool.stop()  # also on Ctrl-C, or when nobody wants the rest
        pool.join()
