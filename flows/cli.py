"""The program `segmodels`: the verbs of the package, and those that look into versions, which DVC keeps."""

from pathlib import Path
from typing import Annotated

import typer

from segmodels.__main__ import app
from segmodels.__main__ import main as main
from segmodels.project import REPORTS


@app.command(rich_help_panel="Look")
def diff(
    before: Annotated[str, typer.Argument(help="A commit, tag or branch whose dvc.lock says what was prepared.")],
    after: Annotated[str | None, typer.Argument(help="Another one; what lies there now, if it is not named.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for diff.json and diff.png.")] = REPORTS / "diff",
) -> None:
    """Say what changed between two versions of the dataset: images, labels, splits, classes."""
    from flows.versions import diff as run

    run(before, after, out)
