"""Prints what a retraining came to as a Markdown table: test IoU by class, and the time that each training took.

In the folder of the project: `.venv/bin/python benchmarks/camvid_table.py`.
"""

import json
from pathlib import Path
from typing import Any

import typer

from segmodels.project import REPORTS


def table(reports: Path) -> str:
    """A row a candidate, best first; scores in per cent, as the papers have them."""
    rows = []
    for path in reports.glob("*/scores.json"):
        scores, training = read(path), read(path.with_name("training.json"))
        classes = ["-" if one["iou"] is None else f"{100 * one['iou']:.1f}" for one in scores["classes"]]
        epochs = len(training["epochs"])
        cells = [scores["candidate"], f"{100 * scores['miou']:.1f}", *classes, f"{training['seconds'] / 60:.0f} min", str(epochs)]
        rows.append((scores["miou"], cells, [one["name"] for one in scores["classes"]], training))
    if not rows:
        raise typer.BadParameter(f"{reports}: there are no scores in it; run `make retrain` first")
    rows.sort(key=lambda row: -row[0])
    head = ["architecture", "mIoU", *rows[0][2], "training", "epochs"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *(cells for _, cells, _, _ in rows)]
    made_on = {f"{training['device']}, {training['precision']}" for *_, training in rows}
    return "\n".join([*("| " + " | ".join(line) + " |" for line in lines), "", f"Trained on {'; '.join(sorted(made_on))}."])


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def main(reports: Path = REPORTS) -> None:
    """Print the table of the reports in a folder."""
    typer.echo(table(reports))


if __name__ == "__main__":
    typer.run(main)
