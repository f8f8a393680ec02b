"""What people see on a terminal: progress, the leaderboard as a table, errors without a traceback."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from segmodels.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from segmodels.doctor import Finding
    from segmodels.inspection import Inspection
    from segmodels.problems import Problem

T = TypeVar("T")

LOG_WIDTH = 160
"""Characters of a table where there is no terminal to fit it into."""
DEBUG = "SEGMODELS_DEBUG"

# without a terminal lines are for log files: never wrapped, never coloured
out = Console(
    highlight=False, emoji=False, soft_wrap=True, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else LOG_WIDTH
)
err = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def progress(items: Iterable[T], doing: str, total: int) -> Iterable[T]:
    """Pass on what takes its time to come, with a bar on a terminal, or a line in a log."""
    if out.is_terminal:
        return track(items, doing, total=total, console=out, transient=True)
    out.print(f"{doing}: {total}")
    return items


def say(text: str) -> None:
    """A line as it is, brackets and all."""
    out.print(text, markup=False)


def error(text: str) -> None:
    err.print(f"[bold red]error:[/] {_plain(text)}")


_FULL = ("the disk is full", "free some space and run the same again: what was half-written is not kept")
_FORBIDDEN = ("permission denied", "change its owner or its mode")
_FAULTS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: ("the disk is read-only", "make it writable, or work in another folder"),
    errno.EIO: ("the disk cannot be read or written", "it may be failing: copy what it holds before all else"),
}
"""Faults of the machine, not of the program, and what a person can do about them."""


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Errors as people need them: mistakes (exit code 2), faults of the disk (1) and Ctrl-C (130) without a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        if os.environ.get(DEBUG):
            raise
        err.print("interrupted; run the same again to go on")
        sys.exit(130)  # as shells have it for SIGINT
    except InputError as mistake:
        if os.environ.get(DEBUG):
            raise
        error(str(mistake))
        sys.exit(2)
    except OSError as fault:
        told, remedy = _FAULTS.get(fault.errno or 0, ("", ""))
        known = told if fault.filename else told == _FULL[0]  # a write that finds the disk full does not name its file
        if not known or os.environ.get(DEBUG):
            raise
        where = f" ({fault.filename})" if fault.filename else ""
        error(f"{told}{where}; {remedy}")
        sys.exit(1)


def leaderboard(found: dict[str, Any]) -> None:
    """Print what `compare` wrote as leaderboard.json."""
    ranked = found["candidates"]
    first = ranked[0]
    table = Table(title=f"Leaderboard on {first['num_images']} test images", title_justify="left")
    table.add_column("candidate", overflow="fold")
    for name in ("mIoU", "95 % interval", "validation", "pixel acc.", "parameters", "ms/image"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in ranked:
        table.add_row(
            _plain(one["name"]),
            f"{one['miou']:.4f}",
            f"{one['miou_low']:.3f} to {one['miou_high']:.3f}",
            *("-" if one[key] is None else f"{one[key]:.4f}" for key in ("validation_miou", "pixel_accuracy")),
            f"{one['num_parameters'] / 1e6:.1f} M",
            f"{one['latency_ms']:.1f}",
            style="bold green" if one["name"] == found["chosen"] else "",
        )
    out.print(table, soft_wrap=False)
    out.print(f"put forward: {_plain(found['reason'])}")
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


PROBLEMS_SHOWN, LEAKS_SHOWN, UNREAD_SHOWN = 40, 12, 3


def problems(found: Sequence["Problem"]) -> None:
    """Print what is wrong with a dataset, a row a file; the first of very many."""
    shown = Table(title=f"{len(found)} problems", title_justify="left", show_lines=True)
    for name in ("file", "what is wrong", "what to do"):
        shown.add_column(name, overflow="fold")
    for one in found[:PROBLEMS_SHOWN]:
        shown.add_row(_plain(one.file), _plain(one.fault), _plain(one.remedy))
    err.print(shown, soft_wrap=False)
    if len(found) > PROBLEMS_SHOWN:
        err.print(f"... and {len(found) - PROBLEMS_SHOWN} more")


def inspection(source: "Path", found: "Inspection") -> None:
    """Print what `inspect` found."""
    say(f"{source}: format `{found.format}`, as it {found.told_by}")
    splits = ", ".join(f"{count} {name}" for name, count in found.splits.items() if name != "none")
    groups = "no groups" if found.num_groups is None else f"{found.num_groups} groups"
    say(f"{found.num_images} images ({splits or 'no splits'}; {groups}), task {found.task}")
    sizes = [f"{size} ({count})" for size, count in found.sizes.items()]
    more = f", and {len(sizes) - 5} more sizes" if len(sizes) > 5 else ""
    say(f"width x height: {', '.join(sizes[:5]) or 'none'}{more}")
    if found.num_objects is not None:
        say(f"{found.num_objects} objects told apart")
    rows = [
        (
            one.name,
            "void" if one.ignore else str(one.value),
            "#{:02x}{:02x}{:02x}".format(*one.color),
            str(one.num_images),
            "-" if one.share is None else f"{one.share:.2%}",
        )
        for one in found.classes
    ]
    table(f"{len(rows)} classes", ("class", "value", "colour", "images", "of known pixels"), rows, names=1)
    if found.void:
        say(f"{found.void:.2%} of all pixels are void")
    if found.leaks:
        say("its splits leak: what was learnt is asked again, and scores come out too high")
        for leak in found.leaks[:LEAKS_SHOWN]:
            say(f"  {leak}")
        if len(found.leaks) > LEAKS_SHOWN:
            say(f"  ... and {len(found.leaks) - LEAKS_SHOWN} more")
        say("splits.method: group in params.yaml draws splits that keep a scene on one side")
    if found.suspects:
        say(f"{len(found.suspects)} labels may be wrong; look at them:")
        for suspect in found.suspects[:LEAKS_SHOWN]:
            say(f"  {suspect}")
        if len(found.suspects) > LEAKS_SHOWN:
            say(f"  ... and {len(found.suspects) - LEAKS_SHOWN} more")
    unread(found.unread)
    if found.problems:
        problems(found.problems)


def unread(pictures: Sequence[str]) -> None:
    """Print how many pictures of a dataset nothing was made of, if any, and which the first are."""
    if pictures:
        more = f" and {len(pictures) - UNREAD_SHOWN} more" if len(pictures) > UNREAD_SHOWN else ""
        say(f"not read, as nothing refers to them: {len(pictures)} pictures ({', '.join(pictures[:UNREAD_SHOWN])}{more})")


def _plain(text: str) -> str:
    """Square brackets in people's names are no markup."""
    return escape(text)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, names: int) -> None:
    """Print a table whose first `names` columns are words and whose others are figures."""
    shown = Table(title=title, title_justify="left")
    for position, name in enumerate(columns):
        if position < names:
            shown.add_column(name, overflow="fold")  # where the terminal is narrow, names give way
        else:
            shown.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    for row in rows:
        shown.add_row(*map(_plain, row))
    out.print(shown, soft_wrap=False)
