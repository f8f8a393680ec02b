"""What the formats of folders share: files by name, and the facts about samples that stand in `samples.csv`."""

from pathlib import Path

import pandas as pd

from segmodels.errors import DatasetError
from segmodels.images import SUFFIXES
from segmodels.samples import SPLITS, Split


def by_stem(folder: Path) -> dict[str, Path]:
    """The pictures in a folder and below it, by their path in it without suffix."""
    found: dict[str, Path] = {}
    clashes = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            clashes.append(f"{path} and {found[name]}: same name; rename one")
        found[name] = path
    if clashes:
        raise DatasetError(f"{folder}: {len(clashes)} names are taken twice", clashes)
    return found


def read_facts(path: Path, known: set[str]) -> dict[str, tuple[Split | None, str | None]]:
    """Split and group of each sample that `samples.csv` names, if there is such a file.

    Its columns are `id`, `split` and `group`; each of the last two may be missing or empty.
    """
    if not path.is_file():
        return {}
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:  # pandas' own errors are ValueErrors, and so is a text that is not UTF-8
        raise DatasetError(f"{path}: is no CSV ({str(error).strip()}); expected the columns id, split and group") from error
    if "id" not in table:
        raise DatasetError(f"{path}: has no column `id`, only {', '.join(table.columns)}; add it")
    problems = [f"{one}: no such image" for one in table["id"] if one not in known]
    problems += [f"{one}: listed twice" for one in table["id"][table["id"].duplicated()]]
    facts: dict[str, tuple[Split | None, str | None]] = {}
    for row in table.to_dict("records"):
        name, split, group = row["id"], row.get("split") or None, row.get("group") or None
        if split is not None and split not in SPLITS:
            problems.append(f"{name}: split is {split!r}; expected one of {', '.join(SPLITS)} or nothing")
        facts[name] = split, group
    if problems:
        raise DatasetError(f"{path}: {len(problems)} wrong rows", problems)
    return facts
