"""The program `segmodels`: the verbs of the package, and those that look into versions, which DVC keeps."""

from pathlib import Path
from typing import Annotated

import typer

from segmodels import console
from segmodels.__main__ import ParamsPath, app
from segmodels.__main__ import main as main
from segmodels.errors import InputError
from segmodels.project import PARAMS, REPORTS


@app.command(rich_help_panel="Look")
def diff(
    before: Annotated[str, typer.Argument(help="A commit, tag or branch whose dvc.lock says what was prepared.")],
    after: Annotated[str | None, typer.Argument(help="Another one; what lies there now, if it is not named.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for diff.json and diff.png.")] = REPORTS / "diff",
) -> None:
    """Say what changed between two versions of the dataset: images, labels, splits, classes."""
    from flows.versions import diff as run

    run(before, after, out)


@app.command(rich_help_panel="Look")
def history(path: ParamsPath = PARAMS) -> None:
    """List every version of the registry, the newest first, and what was decided about it."""
    from flows.history import history as run
    from segmodels.params import read

    rows = [
        (
            str(one.version),
            f"{one.registered:%Y-%m-%d %H:%M}",
            one.candidate,
            ", ".join(one.aliases),
            f"{one.outcome}: {one.reason}" if one.outcome else "not decided",
        )
        for one in run(read(path).project)
    ]
    if not rows:
        raise InputError("there is no version yet; run `make retrain`")
    console.table("versions, times in UTC", ("version", "registered", "candidate", "is", "decided"), rows, names=5)


@app.command(rich_help_panel="Act")
def rollback(
    version: Annotated[
        str | None, typer.Option(help="Of `segmodels history`; the champion before this one, unless given.")
    ] = None,
    path: ParamsPath = PARAMS,
) -> None:
    """Make an earlier version champion again. What serves it follows by itself; nothing is retrained or forgotten."""
    from flows.history import rollback as run
    from segmodels.params import read

    project = read(path).project
    before, now = run(project, version)
    console.say(f"models:/{project}@champion is version {now}; it was {before}")
