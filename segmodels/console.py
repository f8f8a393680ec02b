"""What people see on a terminal: progress, the leaderboard as a table, errors without a traceback."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import track
from rich.table import Table

from segmodels.errors import InputError

if TYPE_CHECKING:
    from segmodels.doctor import Finding

T = TypeVar("T")

DEBUG = "SEGMODELS_DEBUG"

# without a terminal lines are for log files: never wrapped, never coloured
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def progress(items: Sequence[T], doing: str) -> Iterable[T]:
    """Pass `items` through with a bar on a terminal, or a line in a log."""
    if out.is_terminal:
        return track(items, doing, console=out, transient=True)
    out.print(f"{doing}: {len(items)}")
    return items


def say(text: str) -> None:
    """A line as it is, brackets and all."""
    out.print(text, markup=False)


def error(text: str) -> None:
    err.print(f"[bold red]error:[/] {_plain(text)}")


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Errors as people need them: mistakes (exit code 2) and full disks (1) without a traceback, unless DEBUG is set."""
    try:
        yield
    except InputError as mistake:
        if os.environ.get(DEBUG):
            raise
        error(str(mistake))
        sys.exit(2)
    except OSError as fault:
        if fault.errno not in (errno.ENOSPC, errno.EDQUOT) or os.environ.get(DEBUG):
            raise
        where = f" ({fault.filename})" if fault.filename else ""
        error(f"the disk is full{where}; free some space and run the same again: what was half-written is not kept")
        sys.exit(1)


def leaderboard(found: dict[str, Any]) -> None:
    """Print what `compare` wrote as leaderboard.json."""
    ranked = found["candidates"]
    first = ranked[0]
    table = Table(title=f"Leaderboard on {first['num_images']} test images", title_justify="left")
    table.add_column("candidate", overflow="fold")
    for name in ("mIoU", "95 % interval", "pixel acc.", "parameters", "ms/image"):
        table.add_column(name, justify="right", no_wrap=True)
    for position, one in enumerate(ranked):
        table.add_row(
            _plain(one["name"]),
            f"{one['miou']:.4f}",
            f"{one['miou_low']:.3f} to {one['miou_high']:.3f}",
            f"{one['pixel_accuracy']:.4f}",
            f"{one['num_parameters'] / 1e6:.1f} M",
            f"{one['latency_ms']:.1f}",
            style="bold green" if position == 0 else "",
        )
    out.print(table, soft_wrap=False)
    for one in found["not_ranked"]:
        out.print(f"[yellow]{_plain(one['name'])} is not ranked:[/] {_plain(one['reason'])}")


def findings(found: Iterable["Finding"]) -> bool:
    """Print what `doctor` finds, each as it comes; true if something is wrong."""
    any_wrong = False
    signs = {"well": "[green]ok   [/]", "doubtful": "[yellow]look [/]", "wrong": "[red]wrong[/]"}
    for one in found:
        out.print(f"{signs[one.state]} {_plain(one.name)}: {_plain(one.text)}")
        any_wrong |= one.state == "wrong"
    return any_wrong


def _plain(text: str) -> str:
    """Square brackets in people's names are no markup."""
    return text.replace("[", r"\[")
