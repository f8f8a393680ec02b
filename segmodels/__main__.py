"""The verbs: what `segmodels <verb>` does. Reads params.yaml and hands plain values down; the stages' names are DVC's too."""

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from segmodels import console, environment, fork_server
from segmodels.errors import InputError
from segmodels.processes import die_with_parent, ending_soon
from segmodels.project import (
    AUGMENTED,
    BUNDLES,
    CHECKPOINTS,
    DECISIONS,
    EVALUATED,
    FACTS,
    FETCHED,
    LEDGER,
    LOCKS,
    PARAMS,
    PREPARED,
    PROGRESS,
    RAN,
    RAW,
    REPORTS,
    SHARDS,
    WORK,
)

if TYPE_CHECKING:
    from segmodels import backends
    from segmodels.bundle import Bundle
    from segmodels.dataset import Dataset
    from segmodels.ingest import Ingested
    from segmodels.learner import EpochRecord
    from segmodels.params import Params

# Modules that take seconds to import (torch, pandas) are imported by the verbs that need them: `--help` answers at once.

app = typer.Typer(
    help="Continuous retraining for image segmentation. `make help` lists what a project is used with; these are its parts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

bench = typer.Typer(help="Measure on this machine.", no_args_is_help=True)
app.add_typer(bench, name="bench", rich_help_panel="Look")

ParamsPath = Annotated[Path, typer.Option("--params", help="The file of all values a person may change.")]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a mistake in the input too.")] = False,
) -> None:
    if debug:
        os.environ[console.DEBUG] = "1"  # also for the processes started
    if "DVC_STAGE" in os.environ:  # as DVC tells what it runs; a training that a person started may outlive the terminal
        die_with_parent()


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
def dashboard(
    host: Annotated[
        str, typer.Option(help="The address to listen at; only this machine reaches the one it has unless named.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen at.", min=1, max=65535)] = 8501,
) -> None:
    """Show in a browser which candidate is best, whether that is certain, what it costs and what it gets wrong."""
    from segmodels.dashboard import server

    if host not in server.LOOPBACK:
        raise InputError(
            f"--host: {host} can be reached by others, and the dashboard asks nobody who they are; reach it "
            f"from elsewhere by ssh -L {port}:127.0.0.1:{port} <this machine>"
        )
    address = f"[{host}]" if ":" in host else host
    console.say(f"http://{address}:{port} shows the candidates; Ctrl-C ends it")
    server.serve(host, port)


@app.command("simulate-gate", rich_help_panel="Look")
def simulate_gate(
    candidates: Annotated[
        list[str] | None,
        typer.Argument(help="Two of them, whose differences say how uneven models are. The two best unless given."),
    ] = None,
    years: Annotated[int, typer.Option(min=1, help="How many are simulated.")] = 100,
    seed: int = 0,
    path: ParamsPath = PARAMS,
) -> None:
    """What the gate would do with your test images: false promotions a year, and what gains it finds."""
    import json

    from segmodels import gate, gate_simulation
    from segmodels.store import Store

    settings = _read(path)
    if not candidates:
        ranking = REPORTS / "leaderboard.json"
        ranked = json.loads(ranking.read_text(encoding="utf-8"))["candidates"] if ranking.is_file() else []
        candidates = [one["name"] for one in ranked[:2]]
    if len(candidates) != 2 or not all((EVALUATED / name / "images.parquet").is_file() for name in candidates):
        raise InputError(
            f"candidates: {candidates} are not two that were evaluated; run `make retrain`, and name two of params.yaml"
        )
    differences = gate_simulation.measured(EVALUATED / candidates[0], EVALUATED / candidates[1])
    vault_scenes = Store(PREPARED).num_scenes("vault")
    simulated = gate_simulation.simulate(
        differences, gate.Rules.of(settings.gate.model_dump()), seed=seed, years=years, vault_scenes=vault_scenes
    )
    rows = [
        (one.rule, f"{one.frozen:.2f}", f"{one.redrawn:.2f}", *(f"{100 * power:.0f} %" for power in one.power))
        for one in simulated
    ]
    title = f"{len(differences)} independent parts of the test images, where {' and '.join(candidates)} differ by {100 * differences.std():.1f} points (SD)"
    if vault_scenes:
        title += f"; then {vault_scenes} scenes of the vault"
    gains = [f"+{100 * gain:g}" for gain in gate_simulation.GAINS]
    console.table(title, ("promoted is what", "false a year", "if redrawn", *gains), rows, names=1)
    console.out.print(
        "false a year: promotions of models that are no better; +2: how often one that is better by 2 points is promoted"
    )


@app.command(rich_help_panel="Look")
def predict(
    images: Annotated[list[str], typer.Argument(help="Image files, folders of them, or patterns such as 'scans/*.tif'.")],
    bundle: Annotated[Path, typer.Option(help="Folder of the bundle, e.g. bundles/unet.")],
    out: Annotated[Path, typer.Option(help="Where the masks and overlays are written.")] = Path("predictions"),
    backend: Annotated[
        Literal["auto", "torch", "openvino", "onnxruntime"],
        typer.Option(
            help="What runs the network; auto: what it was scored with here, else torch on a GPU and OpenVINO on a CPU."
        ),
    ] = "auto",
    precision: Annotated[
        Literal["auto", "bf16", "fp32", "int8"],
        typer.Option(
            help="auto: what it was scored with here, else bf16 where the machine has it; int8 where the bundle has it."
        ),
    ] = "auto",
    tiles: Annotated[
        Literal["auto", "always", "never"],
        typer.Option(
            help="See an image in overlapping tiles at the scale of training; auto: one much larger than those of training."
        ),
    ] = "auto",
    flips: Annotated[
        bool, typer.Option(help="Average the scores of the image and its mirror images: four times the work.")
    ] = False,
    overlay: Annotated[bool, typer.Option(help="The mask over the image too, <image>_overlay.png.")] = True,
    probabilities: Annotated[
        bool, typer.Option(help="How probable each class is too, <image>.npy: classes x height x width.")
    ] = False,
    polygons: Annotated[bool, typer.Option(help="Outlines in COCO's form too, polygons.json.")] = False,
    large: Annotated[
        bool, typer.Option(help="TIFF files beyond 50 million pixels too: read and written piece by piece, to <image>.tif.")
    ] = False,
    path: ParamsPath = PARAMS,
) -> None:
    """Write a mask for every image, at the image's own size."""
    if path.is_file() or path != PARAMS:
        _read(path)  # how large images may be
    from segmodels import backends, predicted_files
    from segmodels.bundle import load
    from segmodels.predict import Predictor
    from segmodels.predicted_files import Wanted

    loaded = load(bundle)
    if (backend, precision) == ("auto", "auto"):
        backend, precision = _scored_with(loaded)
    chosen = backends.load(loaded, backend, precision=None if precision == "auto" else precision)
    _refuse_disagreeing(loaded, chosen)
    predictor = Predictor(loaded, chosen, tiles=tiles, flips=flips)
    overlap = loaded.facts.task == "multilabel"
    written = "<image>/<class>.png, 255 where the class is" if overlap else "palette PNG, pixel value = class index"
    done, failed = 0, 0
    wanted = Wanted(overlay, probabilities, polygons, large)
    targets = predicted_files.find(images, out, wanted)
    results = predicted_files.predict_files(predictor, targets, out, wanted)
    for source, reason in console.progress(results, "predicting images", len(targets)):
        if reason is None:
            done += 1
        else:
            failed += 1
            console.error(reason if str(source) in reason else f"{source}: {reason}")
    console.out.print(f"masks of {done} images in {out}/ ({written})", markup=False)
    if failed:
        raise InputError(f"{failed} of {done + failed} images could not be predicted")


def _scored_with(loaded: "Bundle") -> "tuple[backends.Name | Literal['auto'], backends.Precision | Literal['auto']]":
    """The backend and the precision that agreed with the trained network on the test images, where `evaluate` has scored this bundle."""
    from segmodels import device

    scores = _scores(loaded)
    if scores.get("device") == device.default().type:
        return scores["backend"], scores["precision"]
    return "auto", "auto"


def _refuse_disagreeing(loaded: "Bundle", chosen: "backends.Backend") -> None:
    """Where `evaluate` has found that a backend does not answer as the trained network does, it is not to be used."""
    from segmodels.evaluate import MAX_DISAGREEMENT

    share = _scores(loaded).get("disagreement", {}).get(f"{chosen.name} {chosen.precision}", 0.0)
    if share > MAX_DISAGREEMENT[chosen.precision]:
        raise InputError(
            f"{chosen.name} in {chosen.precision} labels {share:.2%} of the test images' pixels otherwise than the trained network, more than "
            f"{MAX_DISAGREEMENT[chosen.precision]:.1%}; leave out --backend and --precision"
        )


def _scores(loaded: "Bundle") -> dict[str, Any]:
    """What `evaluate` found of this bundle; empty where it has not scored it."""
    from segmodels.counts import read_scores

    folder = EVALUATED / loaded.facts.candidate
    scores = read_scores(folder) if (folder / "scores.json").is_file() else {}
    return scores if scores.get("bundle_sha256") == loaded.sha256 else {}


@bench.command()
def architectures(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Architectures with their default encoders, or ARCHITECTURE:ENCODER. All and unet:plain, if none is named."
        ),
    ] = None,
    size_px: Annotated[tuple[int, int], typer.Option(help="Height and width of the images.")] = (256, 256),
    batch_size: Annotated[int, typer.Option(min=1)] = 4,
    steps: Annotated[int, typer.Option(min=1, help="Training steps that the median is taken over.")] = 5,
    into: Annotated[Path | None, typer.Option(help="Put the table into this Markdown page, between its `costs` marks.")] = None,
) -> None:
    """What each architecture costs: parameters, GFLOPs, time of a step and of a prediction, peak memory."""
    from segmodels import atomic, catalog
    from segmodels.costs import COLUMNS, Conditions, around_table, cells, describe, markdown, measure_each

    named = [name.partition(":") for name in names or [*catalog.names("architectures"), "unet:plain"]]
    chosen = [(name, encoder or str(catalog.default("architectures", name, "encoder"))) for name, _, encoder in named]
    for name, _ in chosen:
        catalog.check("architectures", name)
    if into is not None:
        around_table(into)  # before all is measured
    conditions = Conditions(size_px=size_px, batch_size=batch_size, num_classes=12, steps=steps)
    measured = list(console.progress(measure_each(chosen, conditions), "measuring", len(chosen)))
    console.table(f"Architectures, {describe(conditions)}", COLUMNS, map(cells, measured), names=2)
    if into is not None:
        before, after = around_table(into)
        atomic.write_text(into, f"{before}\n{markdown(measured, describe(conditions))}\n{after}")


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


Source = Annotated[Path, typer.Argument(help="The dataset's folder, or a ZIP or TAR file of it.")]
Format = Annotated[str, typer.Option(help="The dataset's format, one of segmodels/formats/. auto: told from the files.")]


@app.command(rich_help_panel="Bring data in")
def inspect(
    source: Source,
    format: Format = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    path: ParamsPath = PARAMS,
) -> None:
    """Show what would be read from a dataset and what is wrong with it, without bringing it in. Exit code 2 if something is.

    Where there is a params.yaml, its classes and task are those that an import would take.
    """
    import json
    from tempfile import gettempdir

    from segmodels import archives
    from segmodels.dataset import open_dataset, within
    from segmodels.errors import DatasetError
    from segmodels.inspection import inspect as run
    from segmodels.ledger import Ledger
    from segmodels.problems import Problem
    from segmodels.samples import RGB
    from segmodels.watching import silent

    settings = _read(path) if path.is_file() or path != PARAMS else None
    with archives.opened(source, work=WORK if settings else Path(gettempdir())) as root:
        try:
            dataset = open_dataset(
                root,
                format=format,
                task=settings.dataset.task if settings else "auto",
                classes=settings.listed_classes() if settings else None,
                kind=settings.dataset.kind if settings else RGB,
                tolerant=True,
            )
        except DatasetError as error:
            if as_json:
                every = [Problem.of(within(root, one)) for one in error.problems or [str(error)]]
                typer.echo(json.dumps({"format": None, "problems": [vars(one) for one in every]}, indent=2))
            raise
        with Ledger(LEDGER if settings else None) as ledger:
            found = run(dataset, ledger, progress=silent if as_json else console.progress)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
    else:
        console.inspection(source, found)
    if found.problems:
        raise typer.Exit(2)


@app.command(rich_help_panel="Bring data in")
def ingest(
    source: Source,
    format: Format = "auto",
    quarantine: Annotated[bool, typer.Option(help="Take in what is sound and leave the rest out, with a list.")] = False,
    path: ParamsPath = PARAMS,
) -> None:
    """Check a dataset and copy it to where params.yaml has it; one with a fault is refused whole, unless quarantined."""
    from segmodels import archives, locks, problems, quiet
    from segmodels.dataset import open_dataset
    from segmodels.errors import DatasetError
    from segmodels.ingest import ingest as bring_in
    from segmodels.ledger import Ledger
    from segmodels.params import agreed_format
    from segmodels.remembered import Splitting

    settings = _read(path)
    problems.forget(REPORTS)
    quiet.wait(source, notice=console.say)
    root = source
    try:
        with (
            locks.held(LOCKS / "raw", on_wait=lambda: console.say("another import runs in this folder; waiting for it")),
            archives.opened(source, work=WORK) as root,
            Ledger(LEDGER) as ledger,
        ):
            dataset = open_dataset(
                root,
                format=agreed_format(settings, format),
                task=settings.dataset.task,
                classes=settings.listed_classes(),
                kind=settings.dataset.kind,
                tolerant=True,
            )
            drawn = settings.splits
            ingested = bring_in(
                dataset,
                RAW,
                ledger=ledger,
                splitting=Splitting(
                    drawn.method, drawn.group, drawn.val, drawn.test, drawn.seed, drawn.near_duplicates, drawn.vault
                ),
                quarantine=quarantine,
                progress=console.progress,
            )
            unread = dataset.unread()
    except DatasetError as error:
        told = error.summary.replace(str(root), str(source))  # not where an archive was unpacked
        if not error.problems:
            raise InputError(told) from error
        raise InputError(f"{told}; {_listed(error.problems, root)}; mend them, or take in the rest with --quarantine") from error
    _tell_brought_in(ingested, dataset, unread, source, settings)


def _tell_brought_in(ingested: "Ingested", dataset: "Dataset", unread: list[Path], source: Path, settings: "Params") -> None:
    """What came in, what did not and is gone, and a hint where much will not be seen."""
    (height, width), _ = ingested.sizes.most_common(1)[0]
    console.out.print(
        f"{RAW}: {ingested.num_images} pairs, {ingested.num_classes} classes, format `{dataset.format}`, "
        f"mostly {width} x {height} (width x height)",
        markup=False,
    )
    console.unread([str(one.relative_to(dataset.root)) for one in unread])
    if ingested.num_gone:
        console.err.print(
            f"{ingested.num_gone} files that {RAW} had are not in {source}, and are gone from it; the version before keeps them, "
            f"`segmodels diff` shows what changed",
            style="yellow",
            markup=False,
        )
    if ingested.left_out:
        console.err.print(
            f"{len(ingested.left_out)} files or entries were left out; {_listed(ingested.left_out, source)}",
            style="yellow",
            markup=False,
        )
    small = settings.training.size_px
    if small != "auto" and height * width > 2.25 * small[0] * small[1]:
        console.err.print(
            f"hint: the network sees them at training.size_px {list(small)} (height, width), well below their size; "
            f"raise it in params.yaml if details matter",
            style="yellow",
            markup=False,
        )


def _listed(told: list[str], source: Path) -> str:
    """Show what is wrong with a dataset as a table, write it to files, and say where."""
    from segmodels import problems
    from segmodels.dataset import within

    found = [problems.Problem.of(within(source, one)) for one in told]
    console.problems(found)
    return f"all are in {' and '.join(map(str, problems.write(found, REPORTS)))}"


@app.command(rich_help_panel="Stages, as dvc.yaml runs them")
def prepare(path: ParamsPath = PARAMS) -> None:
    """Check every pair, split, and pack the dataset into memory-mapped shards."""
    from segmodels.dataset import open_dataset
    from segmodels.ledger import Ledger
    from segmodels.prepare import prepare as run

    settings = _read(path)
    with Ledger(LEDGER) as ledger:
        run(
            open_dataset(
                RAW,
                format=settings.dataset.format,
                task=settings.dataset.task,
                classes=settings.listed_classes(),
                kind=settings.dataset.kind,
            ),
            PREPARED,
            ledger=ledger,
            kept=SHARDS,
            facts=FACTS,
            method=settings.splits.method,
            group_pattern=settings.splits.group,
            val=settings.splits.val,
            test=settings.splits.test,
            seed=settings.splits.seed,
            vault=settings.splits.vault,
            near_duplicates=settings.splits.near_duplicates,
            on_leak=settings.splits.on_leak,
            progress=console.progress,
            notice=console.say,
        )


@app.command(rich_help_panel="Stages, as dvc.yaml runs them")
def augment(name: Annotated[str, typer.Argument(help="A key of `augmentations:`.")], path: ParamsPath = PARAMS) -> None:
    """Compile an augmentation recipe: check it on the training images and draw a preview."""
    settings = _read(path)
    recipe = settings.augmentation(name)
    from segmodels.augment import augment as run

    run(
        PREPARED,
        AUGMENTED / name,
        recipe=recipe.recipe,
        options=recipe.options,
        size_px=None if settings.training.size_px == "auto" else settings.training.size_px,
        seed=settings.training.seed,
        copies=recipe.copies,
        progress=console.progress,
        notice=lambda text: console.say(f"{name}: {text}"),
    )


@app.command(rich_help_panel="Stages, as dvc.yaml runs them")
def train(
    candidate: Annotated[str, typer.Argument(help="A key of `candidates:`.")],
    path: ParamsPath = PARAMS,
) -> None:
    """Train a candidate to a bundle; an interrupted training goes on from its last epoch."""
    settings = _read(path)
    chosen = settings.candidate(candidate)
    from segmodels import device, memory
    from segmodels.decisions import settle
    from segmodels.objective import Term
    from segmodels.progress import TrainingProgress
    from segmodels.store import Store
    from segmodels.tracking import CandidateRun
    from segmodels.train import Places
    from segmodels.train import train as run

    def notice(text: str) -> None:
        if first:
            console.say(f"{candidate}: {text}")

    if device.default().type == "cpu":
        memory.keep_freed()
        if settings.training_of(candidate).devices == 1:  # of several processes each would count what is left for itself
            memory.bound()
    first = device.rank() == 0  # of the processes that train it together: the others only compute
    if not first:
        die_with_parent()
    plan, decisions = settle(
        candidate,
        architecture=chosen.architecture,
        encoder=settings.encoder_of(candidate),
        weights=chosen.weights,
        options=chosen.options,
        store=Store(PREPARED),
        recipe_path=AUGMENTED / chosen.augmentation / "recipe.json",
        loss=[Term(term.name, term.options, term.weight) for term in chosen.terms],
        schedule=chosen.schedule.name,
        schedule_options=chosen.schedule.options,
        training=settings.training_of(candidate).model_dump(exclude={"export"}),
        kept=DECISIONS / f"{candidate}.json",
        gpu_locks=LOCKS,
        notice=notice,
    )
    used = settings.resolved_candidate(candidate) | {
        "training": plan.training,
        "loss": [term._asdict() for term in plan.loss],
        "decisions": {one.key: one.reason for one in decisions},
    }
    tracked = CandidateRun(settings.project, candidate, params=used, dataset=RAW)
    progress = TrainingProgress(candidate, PROGRESS / f"{candidate}.json")

    def on_epoch(record: "EpochRecord", epochs: int) -> None:
        progress.epoch(record, epochs)
        tracked.epoch(record.to_dict())

    with tracked.recorded() if first else nullcontext():
        sha256 = run(
            plan,
            Places(
                prepared=PREPARED,
                augmented=AUGMENTED / chosen.augmentation,
                bundle=BUNDLES / candidate,
                log=REPORTS / candidate / "training.json",
                checkpoints=CHECKPOINTS,
                gpu_locks=LOCKS,
            ),
            decisions=decisions,
            params=used,
            export=settings.training_of(candidate).export,
            on_start=tracked.start,
            on_epoch=on_epoch,
            notice=notice,
            callbacks=[progress] if first else [],
        )
        if first:
            tracked.trained(sha256)


@app.command(rich_help_panel="Stages, as dvc.yaml runs them")
def evaluate(candidate: Annotated[str, typer.Argument(help="A key of `candidates:`.")], path: ParamsPath = PARAMS) -> None:
    """Score a candidate's bundle on the test images, one by one."""
    _read(path).candidate(candidate)
    from segmodels import device
    from segmodels.evaluate import evaluate as run

    reports = REPORTS / candidate
    with device.claimed(LOCKS) as [on]:  # its time for an image is to be that of a GPU which does nothing else
        scores = run(
            PREPARED,
            BUNDLES / candidate,
            EVALUATED / candidate,
            reports,
            on=on,
            progress=console.progress,
        )
    miou = "none, as no image shows any class" if scores["miou"] is None else f"{scores['miou']:.4f}"
    console.out.print(f"{candidate}: test mIoU {miou} on {scores['num_images']} images", markup=False)


@app.command(rich_help_panel="Stages, as dvc.yaml runs them")
def compare(path: ParamsPath = PARAMS) -> None:
    """Rank all candidates on the same test images."""
    from segmodels.compare import compare as run

    settings = _read(path)
    run(
        PREPARED,
        EVALUATED,
        REPORTS,
        candidates=list(settings.candidates),
        same_but_for_the_seed=settings.same_but_for_the_seed(),
    )


def main() -> None:
    """Run a verb. Exit codes: 0 done, 1 a fault of the program or of the machine, 2 a mistake in the input."""
    environment.apply()
    if FETCHED in os.environ:
        sys.exit(
            f"{os.environ[FETCHED]}: its results are not on the remote, where a node left them, or something has changed meanwhile"
        )
    ran = os.environ.pop(RAN, None)
    if ran is not None:  # the flow wants to know whether DVC had it run, or had its results already
        Path(ran).touch()
    with ending_soon(), console.explained():
        fork_server.hand_over()
        app()


def _read(path: Path) -> "Params":
    from segmodels import bounds
    from segmodels.params import read

    settings = read(path)
    bounds.set_max_pixels(int(settings.dataset.max_megapixels * 1e6))
    return settings


if __name__ == "__main__":
    main()
