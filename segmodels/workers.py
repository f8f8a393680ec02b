"""Work done by other processes, several at once, which may crash or hang without taking this one along.

What strangers' files make a decoder do is not ours to know: a worker that dies, or does not come back, costs its own task alone.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

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


@dataclass(frozen=True)
class Ended:
    """Instead of a result: how the worker ended."""

    how: str


def cores() -> int:
    """How many processes can run at once: the cores that this one may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _bound(memory_bytes: int, pixels: int) -> None:
    """Have a file that asks for more memory than the machine has end in an error of its own, not in the kernel ending others."""
    bounds.set_max_pixels(pixels)
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def each(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, processes: int | None = None, seconds: Callable[[Task], float]
) -> Iterator[Result | Ended]:
    """The results in the order of the tasks, as they are wanted.

    Args:
        function: of a module, so that a worker can import it.
        processes: how many at once; as many as there are cores if None.
        seconds: how long a task may take.

    A worker has half of the machine's memory at most.

    Raises:
        Exception: what the function raised.
    """
    context = multiprocessing.get_context("forkserver")  # a fork of this process, which has threads, may hang
    context.set_forkserver_preload(PRELOADED)
    pool = ProcessPool(
        max_workers=min(processes or cores(), max(1, len(tasks))),
        context=context,
        initializer=_bound,
        initargs=[psutil.virtual_memory().total // 2, bounds.max_pixels()],
    )
    try:
        waiting = [pool.schedule(function, args=[task], timeout=seconds(task)) for task in tasks]
        for task, future in zip(tasks, waiting, strict=True):
            try:
                yield future.result()
            except ProcessExpired as expired:
                yield Ended(f"ended the process that read it (exit code {expired.exitcode})")
            except TimeoutError:
                yield Ended(f"was not read within {seconds(task):.0f} s")
    finally:
        pool.stop()  # also on Ctrl-C, or when nobody wants the rest
        pool.join()
