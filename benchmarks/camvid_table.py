"""Keeps what trainings on CamVid came to, and prints it as Markdown tables: test IoU by class, and the time that each training took.

    python benchmarks/camvid_table.py keep reports      a retraining's reports become records in benchmarks/camvid_records/
    python benchmarks/camvid_table.py show              what docs/camvid.md shows

A record is a candidate's, of so many epochs; a later training of as many takes its place.
"""

import itertools
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from segmodels import atomic

RECORDS = Path(__file__).with_name("camvid_records")
Record = dict[str, Any]

app = typer.Typer(add_completion=False)


@app.command()
def keep(
    reports: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    beside: Annotated[
        bool, typer.Option(help="Other work ran beside: the time is that of the quickest epoch, for each.")
    ] = False,
) -> None:
    """Keep the scores, the settings and the time of every candidate that was trained and scored."""
    for path in sorted(reports.glob("*/scores.json")):
        scores, training = _read(path), _read(path.with_name("training.json"))
        epochs = len(training["epochs"])
        record = {
            "candidate": scores["candidate"],
            "miou": scores["miou"],
            "iou": {one["name"]: one["iou"] for one in scores["classes"]},
            "pixel_accuracy": scores["pixel_accuracy"],
            "epochs": epochs,
            "best_epoch": training["best_epoch"],
            "seconds": epochs * min(one["seconds"] for one in training["epochs"]) if beside else training["seconds"],
            "quickest_epoch": beside,
            "device": training["device"],
            "precision": training["precision"],
            "training": training["params"]["training"],
        }
        atomic.write_json(RECORDS / f"{scores['candidate']}-{epochs}.json", record)
        typer.echo(f"{scores['candidate']}, {epochs} epochs: {scores['miou']:.4f}")


@app.command()
def show() -> None:
    """Print a table for each number of epochs."""
    records = [_read(path) for path in RECORDS.glob("*.json")]
    records.sort(key=lambda one: (one["epochs"], -one["miou"]))
    for _, alike in itertools.groupby(records, key=lambda one: one["epochs"]):
        typer.echo(table(list(alike)) + "\n")


def table(records: list[Record]) -> str:
    """A row a candidate, best first; scores in per cent, as the papers have them."""
    head = ["architecture", "mIoU", *records[0]["iou"], "training", "best epoch"]
    rows = [
        [
            one["candidate"],
            f"{100 * one['miou']:.1f}",
            *("-" if iou is None else f"{100 * iou:.1f}" for iou in one["iou"].values()),
            f"{'about ' if one.get('quickest_epoch') else ''}{one['seconds'] / 60:.0f} min",
            str(one["best_epoch"]),
        ]
        for one in records
    ]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    made_on = sorted({f"{one['device']}, {one['precision']}" for one in records})
    told = f"{records[0]['epochs']} epochs, on {'; '.join(made_on)}:"
    return "\n".join([told, "", *("| " + " | ".join(line) + " |" for line in lines)])


def _read(path: Path) -> Record:
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    return record


if __name__ == "__main__":
    app()
