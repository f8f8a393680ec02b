"""`samples.csv`, which may lie beside a dataset of any format: the split and the scene of each sample, where its files do not tell."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from segmodels.errors import DatasetError
from segmodels.samples import SPLITS, Split

NAME = "samples.csv"


class Table(NamedTuple):
    """Split and group of each sample by its id, and what is wrong with a row, by the id that it names."""

    known: dict[str, tuple[Split | None, str | None]]
    wrong: dict[str, str]


def read(path: Path, samples: Collection[str]) -> Table:
    """What the file at `path` says of the samples, if there is such a file.

    Its columns are `id`, `split` and `group`; each of the last two may be missing or empty.

    Raises:
        DatasetError: it is no such table.
    """
    table = Table({}, {})
    if not path.is_file():
        return table
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:  # pandas' own errors are ValueErrors, and so is a text that is not UTF-8
        raise DatasetError(f"{path}: is no CSV ({str(error).strip()}); expected the columns id, split and group") from error
    if "id" not in rows:
        raise DatasetError(f"{path}: has no column `id`, only {', '.join(rows.columns)}; add it")
    twice = set(rows["id"][rows["id"].duplicated()])
    for row in rows.to_dict("records"):
        name, split, group = row["id"], row.get("split") or None, row.get("group") or None
        if name not in samples:
            table.wrong[name] = f"{path}: lists {name}, but there is no such image; add it or remove the row"
        elif name in twice:
            table.wrong[name] = f"{path}: lists {name} twice; remove one of the rows"
        elif split is not None and split not in SPLITS:
            table.wrong[name] = f"{path}: split of {name} is {split!r}; expected one of {', '.join(SPLITS)} or nothing"
        else:
            table.known[name] = split, group
    return table
