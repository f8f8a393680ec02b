"""The verbs: what `segmodels <verb>` does. Reads params.yaml and hands plain values down; the stages' names are DVC's too."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segmodels import console, quiet
from segmodels.errors import InputError
from segmodels.processes import die_with_parent
from segmodels.project import AUGMENTED, BUNDLES, CHECKPOINTS, EVALUATED, LOCKS, PARAMS, PREPARED, PROGRESS, RAW, REPORTS

if TYPE_CHECKING:
    from segmodels.params import Params

# Modules that take seconds to import (torch, pandas) are imported by the verbs that need them: `--help` answers at once.

app = typer.Typer(
    help="Continuous retraining for image segmentation. `make help` lists what a project is used with; these are its parts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

ParamsPath = Annotated[Path, typer.Option("--params", help="The file of all values a person may change.")]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a mistake in the input too.")] = False,
) -> None:
    if debug:
        os.environ[console.DEBUG] = "1"  # also for the processes started


@app.command(rich_help_panel="Look")
def params(path: ParamsPath = PARAMS) -> None:
    """Check params.yaml and print what it resolves to, defaults and all."""
    from segmodels.params import to_yaml

    console.out.print(to_yaml(_read(path)), markup=False, end="")


@app.command(rich_help_panel="Look")
def doctor(path: ParamsPath = PARAMS) -> None:
    """Say what this machine has and what is wrong with it or with the project's settings."""
    from segmodels.doctor import examine

    if console.findings(examine(path, RAW)):
        raise typer.Exit(1)


@app.command(rich_help_panel="Look")
def leaderboard(reports: Annotated[Path, typer.Option(help="Where `compare` wrote it.")] = REPORTS) -> None:
    """Print the leaderboard of the last comparison."""
    import json

    path = reports / "leaderboard.json"
    if not path.is_file():
        raise InputError(f"{path}: there is no leaderboard yet; run `make retrain` or `make demo`")
    console.leaderboard(json.loads(path.read_text(encoding="utf-8")))


@app.command(rich_help_panel="Look")
def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.", exists=True)],
    bundle: Annotated[Path, typer.Option(help="Folder of the bundle, e.g. bundles/unet.")],
    out: Annotated[Path, typer.Option(help="Where the masks and overlays are written.")] = Path("predictions"),
) -> None:
    """Write a mask and an overlay for every image, at the image's own size."""
    from segmodels.bundle import load
    from segmodels.predict import Predictor, predict_files

    done, failed = 0, 0
    for source, reason in predict_files(Predictor(load(bundle)), images, out):
        if reason is None:
            done += 1
        else:
            failed += 1
            console.error(reason if str(source) in reason else f"{source}: {reason}")
    console.out.print(f"{done} masks in {out}/ (palette PNG, pixel value = class index), each with an overlay", markup=False)
    if failed:
        raise InputError(f"{failed} of {done + failed} images could not be predicted")


@app.command(rich_help_panel="Bring data in")
def shapes(
    destination: Annotated[Path, typer.Argument(help="Folder to draw into.")],
    count: Annotated[int, typer.Option(min=1, help="How many images.")] = 320,
    size_px: Annotated[tuple[int, int], typer.Option(help="Height and width.")] = (128, 128),
    seed: Annotated[int, typer.Option(help="The same seed draws the same images.")] = 0,
) -> None:
    """Draw the demo dataset: images, masks and instance ids of shapes."""
    from segmodels.shapes import write

    write(destination, count=count, size_px=size_px, seed=seed, progress=console.progress)
    console.out.print(f"{destination}: {count} images of {size_px[1]} x {size_px[0]} with masks", markup=False)


@app.command(rich_help_panel="Bring data in")
def ingest(
    source: Annotated[Path, typer.Argument(help="The dataset's folder.")],
    format: Annotated[str, typer.Option(help="folder | camvid | auto: told from the files.")] = "auto",
    path: ParamsPath = PARAMS,
) -> None:
    """Check a dataset and copy it to where params.yaml has it; a dataset with a fault is refused whole."""
    from segmodels.dataset import open_dataset
    from segmodels.ingest import ingest as bring_in
    from segmodels.params import agreed_format

    settings = _read(path)
    dataset = open_dataset(source, format=agreed_format(settings, format), classes=settings.listed_classes())
    ingested = bring_in(dataset, RAW, progress=console.progress)
    (height, width), _ = ingested.sizes.most_common(1)[0]
    console.out.print(
        f"{RAW}: {ingested.num_images} pairs, {ingested.num_classes} classes, format `{dataset.format}`, "
        f"mostly {width} x {height} (width x height)",
        markup=False,
    )
    small = settings.training.size_px
    if height * width > 2.25 * small[0] * small[1]:
        console.err.print(
            f"hint: the network sees them at training.size_px {list(small)} (height, width), well below their size; "
            f"raise it in params.yaml if details matter",
            style="yellow",
            markup=False,
        )


@app.command(rich_help_panel="Stages, as dvc.yaml runs them")
def prepare(path: ParamsPath = PARAMS) -> None:
    """Check every pair, split, and pack the dataset into memory-mapped shards."""
    from segmodels.dataset import open_dataset
    from segmodels.prepare import prepare as run

    settings = _read(path)
    run(
        open_dataset(RAW, format=settings.dataset.format, classes=settings.listed_classes()),
        PREPARED,
        method=settings.splits.method,
        group_pattern=settings.splits.group,
        val=settings.splits.val,
        test=settings.splits.test,
        seed=settings.splits.seed,
        progress=console.progress,
    )


@app.command(rich_help_panel="Stages, as dvc.yaml runs them")
def augment(name: Annotated[str, typer.Argument(help="A key of `augmentations:`.")], path: ParamsPath = PARAMS) -> None:
    """Compile an augmentation recipe: check it on the training images and draw a preview."""
    from segmodels.augment import augment as run

    settings = _read(path)
    recipe = settings.augmentation(name)
    run(
        PREPARED,
        AUGMENTED / name,
        recipe=recipe.recipe,
        options=recipe.options,
        size_px=settings.training.size_px,
        seed=settings.training.seed,
    )


@app.command(rich_help_panel="Stages, as dvc.yaml runs them")
def train(
    candidate: Annotated[str, typer.Argument(help="A key of `candidates:`.")],
    path: ParamsPath = PARAMS,
) -> None:
    """Train a candidate to a bundle; an interrupted training goes on from its last epoch."""
    die_with_parent()
    from segmodels.progress import Live, TrainingProgress
    from segmodels.tracking import CandidateRun
    from segmodels.train import train as run

    settings = _read(path)
    chosen, training = settings.candidate(candidate), settings.training_of(candidate)
    report = REPORTS / candidate / "training.json"
    resolved = settings.resolved_candidate(candidate)
    tracked = CandidateRun(settings.project, candidate, params=resolved, dataset=RAW)
    live = Live(PROGRESS / f"{candidate}.json", tracked.epoch)
    with tracked.recorded():
        sha256 = run(
            PREPARED,
            AUGMENTED / chosen.augmentation,
            BUNDLES / candidate,
            report,
            candidate=candidate,
            architecture=chosen.architecture,
            encoder=chosen.encoder,
            weights=chosen.weights,
            options=chosen.options,
            loss=chosen.loss.name,
            loss_options=chosen.loss.options,
            schedule=chosen.schedule.name,
            schedule_options=chosen.schedule.options,
            size_px=training.size_px,
            epochs=training.epochs,
            batch_size=training.batch_size,
            learning_rate=training.learning_rate,
            weight_decay=training.weight_decay,
            early_stopping_patience=training.early_stopping_patience,
            precision=training.precision,
            seed=training.seed,
            checkpoints_folder=CHECKPOINTS,
            gpu_locks=LOCKS,
            on_start=tracked.start,
            on_epoch=live,
            callbacks=[TrainingProgress(candidate)],
        )
        tracked.trained(sha256)


@app.command(rich_help_panel="Stages, as dvc.yaml runs them")
def evaluate(candidate: Annotated[str, typer.Argument(help="A key of `candidates:`.")], path: ParamsPath = PARAMS) -> None:
    """Score a candidate's bundle on the test images, one by one."""
    from segmodels.evaluate import evaluate as run

    _read(path).candidate(candidate)
    reports = REPORTS / candidate
    scores = run(
        PREPARED,
        BUNDLES / candidate,
        EVALUATED / candidate,
        reports / "scores.json",
        reports / "worst.png",
        progress=console.progress,
    )
    console.out.print(f"{candidate}: test mIoU {scores['miou']:.4f} on {scores['num_images']} images", markup=False)


@app.command(rich_help_panel="Stages, as dvc.yaml runs them")
def compare(path: ParamsPath = PARAMS) -> None:
    """Rank all candidates on the same test images."""
    from segmodels.compare import compare as run

    run(PREPARED, EVALUATED, REPORTS, candidates=list(_read(path).candidates))


def main() -> None:
    """Run a verb. Exit codes: 0 done, 1 a fault of the program or of the machine, 2 a mistake in the input."""
    quiet.apply()
    with console.explained():
        app()


def _read(path: Path) -> "Params":
    from segmodels.params import read

    return read(path)


if __name__ == "__main__":
    main()
