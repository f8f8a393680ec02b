"""What is wrong with a dataset, as a table, a JSON and a CSV: a line for each file, with what to do."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from segmodels import atomic

NAME = "problems"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `remedy` is empty where the fault says it."""

    file: str
    fault: str
    remedy: str

    @classmethod
    def of(cls, told: str) -> "Problem":
        """From the sentence `file: fault; remedy`, as errors have it."""
        file, _, rest = told.partition(": ")
        fault, _, remedy = rest.rpartition("; ") if "; " in rest else (rest, "", "")
        return cls(file, fault, remedy)


def write(problems: Sequence[Problem], folder: Path) -> list[Path]:
    """Write `problems.json` and `problems.csv`; returns their paths."""
    table = pd.DataFrame([vars(one) for one in problems], columns=["file", "fault", "remedy"])
    text = io.StringIO()
    table.to_csv(text, index=False)
    atomic.write_json(folder / f"{NAME}.json", [vars(one) for one in problems])
    atomic.write_text(folder / f"{NAME}.csv", text.getvalue())
    return [folder / f"{NAME}.json", folder / f"{NAME}.csv"]


def forget(folder: Path) -> None:
    """Remove what an earlier check wrote: nobody is to take it for today's."""
    for suffix in ("json", "csv"):
        (folder / f"{NAME}.{suffix}").unlink(missing_ok=True)
