"""Work done by other processes, several at once, which may crash or hang without taking this one along.

What strangers' files make a decoder do is not ours to know: a worker that dies, or does not come back, costs its own task alone.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

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


def started(processes: int, *, max_pixels: int | None = None, preload: Sequence[str] = PRELOADED) -> ProcessPool:
    """Workers that wait for tasks; each has half of the machine's memory at most.

    Args:
        max_pixels: of an image that is decoded; as many as this process decodes if None.
        preload: modules that are imported once, by the process that they are forked from; whoever asks first decides.
    """
    context = multiprocessing.get_context("forkserver")  # a fork of this process, which has threads, may hang
    context.set_forkserver_preload(list(preload))
    pixels = bounds.max_pixels() if max_pixels is None else max_pixels
    return ProcessPool(
        max_workers=processes, context=context, initializer=bound, initargs=[psutil.virtual_memory().total // 2, pixels]
    )


def ended(pool: ProcessPool) -> None:
    """End workers, and wait until they have."""
    pool.stop()
    pool.join()


class Apart:
    """One worker, which is asked one thing after the other, and keeps what it has opened meanwhile."""

    def __enter__(self) -> Self:
        self._pool = started(1)
        return self

    def __exit__(self, *_: object) -> None:
        ended(self._pool)

    def __call__(self, function: Callable[..., Result], *args: Any, seconds: float) -> Result | Ended:
        """What a function of a module returns; what is large it is to leave in a file, as the rest of a message may never come.

        Raises:
            Exception: what the function raised.
        """
        for is_last in (False, True):
            try:
                told: Result | Ended = _result(self._pool.schedule(function, args=args, timeout=seconds), seconds)
                return told
            except RuntimeError:  # of the pool, if its worker was ended while it had nothing to do: then another takes its place
                if self._pool.active or is_last:
                    raise
                ended(self._pool)
                self._pool = started(1)
        raise AssertionError


def _result(future: Any, seconds: float) -> Any:
    try:
        return future.result()
    except ProcessExpired as expired:
        return Ended(f"ended the process that read it (exit code {expired.exitcode})")
    except TimeoutError:
        return Ended(f"was not read within {seconds:.0f} s")


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

    Raises:
        Exception: what the function raised.
    """
    count = min(processes or cores(), max(1, len(tasks)))
    pool = started(count)
    try:
        waiting = deque[Any]()
        for position, task in enumerate(tasks):
            for one in tasks[position + len(waiting) : position + ahead * count]:
                waiting.append(pool.schedule(function, args=[one], timeout=seconds(one)))
            yield _result(waiting.popleft(), seconds(task))
    finally:
        ended(pool)  # also on Ctrl-C, or when nobody wants the rest
