"""Trains the six architectures of camvid_architectures.yaml on CamVid on one GPU, all at once: one of them leaves a large GPU idle.

    python benchmarks/camvid_gpu.py train CAMVID OUT --epochs 200      a quarter of an hour on an H200 with 16 cores

Runs the stages as they are, without DVC, MLflow or Prefect, which a GPU machine need not have. `camvid_table.py keep OUT/reports` keeps
what they came to; times are of trainings that share the GPU and the cores.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

PARAMS = Path(__file__).with_name("camvid_architectures.yaml")

app = typer.Typer(add_completion=False)


@app.command("train")
def train_all(
    camvid: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder with train.txt, val.txt, test.txt.")],
    out: Annotated[Path, typer.Argument(help="Folder for reports, logs and checkpoints.")],
    epochs: int = 200,
    only: Annotated[list[str] | None, typer.Option(help="One of the candidates; may be repeated. All, if none is named.")] = None,
    training: Annotated[str, typer.Option(help="Values of `training:` to change, as JSON.")] = "{}",
) -> None:
    """Train and score each; print how far they are, and at the end what they came to."""
    from segmodels.augment import augment
    from segmodels.dataset import open_dataset
    from segmodels.ledger import Ledger
    from segmodels.params import read
    from segmodels.prepare import prepare

    settings = read(PARAMS)
    changed = {"epochs": epochs, **json.loads(training)}
    with Ledger(out / "ledger.db") as ledger:
        prepare(
            open_dataset(camvid),
            out / "prepared",
            ledger=ledger,
            kept=out / "shards",
            method="given",
            group_pattern=None,
            val=0,
            test=0,
            seed=0,
        )
    assert settings.training.size_px != "auto"
    recipe = settings.augmentation("light")
    augment(
        out / "prepared",
        out / "augmented",
        recipe=recipe.recipe,
        options=recipe.options,
        size_px=settings.training.size_px,
        seed=settings.training.seed,
    )
    running = {}
    for name in only or list(settings.candidates):
        with (out / f"{name}.log").open("w") as log:
            command = [sys.executable, __file__, "one", name, str(out), json.dumps(changed)]
            running[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    started = time.monotonic()
    while any(one.poll() is None for one in running.values()):
        time.sleep(10)
        last = {name: ((out / f"{name}.log").read_text().splitlines() or ["-"])[-1] for name in running}
        typer.echo(f"{time.monotonic() - started:.0f} s: " + "; ".join(f"{name} {line}" for name, line in last.items()))
    failed = [name for name, one in running.items() if one.returncode]
    for name in failed:
        typer.echo(f"{name}:\n{(out / f'{name}.log').read_text()[-3000:]}")
    raise typer.Exit(1 if failed else 0)


@app.command(hidden=True)
def one(candidate: str, out: Path, training: str) -> None:
    """Train and score one, on the GPU that it shares with the others."""
    from segmodels import device
    from segmodels.decisions import settle
    from segmodels.evaluate import evaluate
    from segmodels.learner import EpochRecord
    from segmodels.objective import Term
    from segmodels.params import read
    from segmodels.store import Store
    from segmodels.train import Places, train

    settings = read(PARAMS)
    chosen = settings.candidate(candidate)
    asked: dict[str, Any] = settings.training_of(candidate).model_dump() | json.loads(training)
    mine = out / "work" / candidate
    plan, decisions = settle(
        candidate,
        architecture=chosen.architecture,
        encoder=settings.encoder_of(candidate),
        weights=chosen.weights,
        options=chosen.options,
        store=Store(out / "prepared"),
        recipe_path=out / "augmented" / "recipe.json",
        loss=[Term(term.name, term.options, term.weight) for term in chosen.terms],
        schedule=chosen.schedule.name,
        schedule_options=chosen.schedule.options,
        training=asked,
        kept=mine / "decisions.json",
        gpu_locks=mine / "locks",
    )
    reports = out / "reports" / candidate
    places = Places(
        prepared=out / "prepared",
        augmented=out / "augmented",
        bundle=mine / "bundle",
        log=reports / "training.json",
        checkpoints=mine / "checkpoints",
        gpu_locks=mine / "locks",  # of its own: it does not wait for the others
    )

    def told(record: EpochRecord, _: int) -> None:
        print(f"epoch {record.epoch}: mIoU {record.val_miou:.3f}, {record.seconds:.1f} s", flush=True)

    train(plan, places, decisions=decisions, params={"training": plan.training}, on_epoch=told)
    scores = evaluate(out / "prepared", mine / "bundle", mine / "counts", reports, on=device.default())
    print(f"test mIoU {scores['miou']:.4f}", flush=True)


if __name__ == "__main__":
    from segmodels import environment

    environment.apply()
    app()
