"""The program `segmodels`: the verbs of the package, and those that look into versions, which DVC keeps."""

from datetime import timedelta
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
def explain(path: ParamsPath = PARAMS) -> None:
    """Say why the last retraining ran, what would run now and why, and how long that takes. Nothing is run or changed."""
    from flows.explanation import explain as run
    from segmodels.params import read

    found = run(read(path))
    console.say(f"last retraining: {found.last or 'none yet'}")
    if found.is_running:
        console.say("a retraining is under way; what is due after it is known when it ends")
    elif not found.due:
        console.say("nothing is due: neither the dataset nor anything else that a stage depends on has changed")
    else:
        rows = [(name, why, "?" if takes is None else str(timedelta(seconds=round(takes)))) for name, why, takes in found.due]
        console.table("due now", ("stage", "why", "takes"), rows, names=2)
        total = (
            "nobody knows yet how long that takes"
            if found.seconds is None
            else f"about {timedelta(seconds=round(found.seconds))} in all"
        )
        console.say(f"`make retrain` runs them: {total}")


@app.command(rich_help_panel="Look")
def history(path: ParamsPath = PARAMS) -> None:
    """List every version of the registry, the newest first, and what was decided about it."""
    from segmodels.params import read
    from segmodels.records import versions

    rows = [
        (
            str(one.version),
            f"{one.registered:%Y-%m-%d %H:%M}",
            one.candidate,
            ", ".join(one.aliases),
            f"{one.outcome}: {one.reason}" if one.outcome else "not decided",
        )
        for one in versions(read(path).project)
    ]
    if not rows:
        raise InputError("there is no version yet; run `make retrain`")
    console.table("versions, times in UTC", ("version", "registered", "candidate", "is", "decided"), rows, names=5)


@app.command(rich_help_panel="Look")
def fetch(
    version: Annotated[str, typer.Argument(help="Its number, of `make history`; or champion.")],
    out: Annotated[Path, typer.Option(help="The folder that becomes the bundle: weights, ONNX file, card.")],
    path: ParamsPath = PARAMS,
) -> None:
    """Copy a version's bundle out of the registry: to predict with, or to take its ONNX file to a device."""
    from flows import registry
    from segmodels.params import read

    held = registry.copied(registry.version_of(read(path).project, version), out)
    console.say(f"{out}: {held.facts.candidate}, sha256 {held.sha256[:12]}")


@app.command(rich_help_panel="Act")
def up(path: ParamsPath = PARAMS) -> None:
    """Start the servers of this folder, which retrain by the clock and whenever the dataset changes; `down` ends them."""
    from flows import servers
    from segmodels.params import read

    settings = read(path)
    found = servers.running()
    if found is None:
        found = servers.start(
            mlflow_port=settings.servers.mlflow_port, prefect_port=settings.servers.prefect_port, say=console.say
        )
    else:
        console.say("they run already")
    console.say(f"  {found.mlflow:<30} every run's curves, and the registry")
    console.say(f"  {found.prefect.removesuffix('/api'):<30} what is retrained, when and why, and `Run` to start it")
    console.say(f"  {servers.FOLDER!s:<30} what each of them says")
    for line in servers.when(settings.schedule.cron, settings.schedule.timezone, settings.schedule.watch_seconds):
        console.say(line)


@app.command(rich_help_panel="Act")
def down() -> None:
    """End the servers of this folder and what they have started; a retraining goes on where it was when they are up again."""
    from flows import servers

    console.say("ended" if servers.stop() else "nothing ran")


@app.command(rich_help_panel="Act")
def clean_cache(path: ParamsPath = PARAMS) -> None:
    """Remove from DVC's cache what neither this folder, the tip of a branch, a tag, nor a version of the registry needs."""
    from flows.cleaning import clean
    from flows.versioned import StageError
    from segmodels.params import read

    try:
        freed = clean(read(path).project, say=console.say)
    except StageError as error:
        raise InputError(f"nothing was removed: {error}") from error
    console.say(f"{freed / 1e6:.1f} MB are free now")


@app.command(rich_help_panel="Act")
def reproduce(
    version: Annotated[str, typer.Argument(help="Of `segmodels history`.")],
    tolerance: Annotated[float, typer.Option(help="How far the test mIoU may lie from what it was.", min=0)] = 0.01,
    path: ParamsPath = PARAMS,
) -> None:
    """Train and score a version anew from its records, in a scratch clone, and compare. The registry and this folder stay as they are."""
    from flows.reproduction import reproduce as run
    from flows.versioned import StageError
    from segmodels.params import read

    try:
        made = run(read(path).project, version, say=console.say)
    except StageError as error:
        raise InputError(f"VERSION: {version} could not be made again: {error}") from error
    weights = "the same weights, bit for bit" if made.same_weights else "other weights"
    console.say(f"{made.candidate}: {weights}; test mIoU {made.miou_then:.4f} then, {made.miou_now:.4f} now")
    if abs(made.miou_now - made.miou_then) > tolerance:
        console.error(f"version {version} scores otherwise than it did, by more than {tolerance}")
        raise typer.Exit(1)


@app.command(rich_help_panel="Act")
def rollback(
    version: Annotated[
        str | None, typer.Option(help="Of `segmodels history`; the champion before this one, unless given.")
    ] = None,
    path: ParamsPath = PARAMS,
) -> None:
    """Make an earlier version champion again. What serves it follows by itself; nothing is retrained or forgotten."""
    from flows.rollback import rollback as run
    from segmodels.params import read

    project = read(path).project
    before, now = run(project, version)
    console.say(f"models:/{project}@champion is version {now}; it was {before}")
