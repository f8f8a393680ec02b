"""A dataset as it lies on disk: which format it has, its classes, its samples, and whether every pair is sound."""

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Literal

import pydantic

from segmodels import catalog, sample_table
from segmodels.errors import DatasetError, ParamsError, legible
from segmodels.images import SUFFIXES
from segmodels.sample_table import Table
from segmodels.samples import MAX_CLASSES, RGB, ImageKind, Sample, SegmentationClass, Task, trained

NOTED = "segmodels.json"
"""The file of `Noted`: a format, which the files alone may not tell, and what was left out."""


@dataclass(frozen=True)
class Dataset:
    """A dataset listed but not decoded.

    Attributes:
        told_by: what shows that it has this format.
        kind: what its images are brought to.
        notes: the files besides the samples' that say what they are.
        problems: what is wrong with files that no sample was made of.
    """

    root: Path
    format: str
    told_by: str
    task: Task
    classes: list[SegmentationClass]
    samples: list[Sample]
    notes: list[Path]
    kind: ImageKind
    problems: list[str] = field(default_factory=list)

    @property
    def files(self) -> list[Path]:
        """All that is read for its samples, each once: several may share one."""
        return list(dict.fromkeys(path for sample in self.samples for path in sample.files))

    def unread(self) -> list[Path]:
        """The pictures in its folder that no sample and no problem is about: nobody has labelled them yet, or they show something else."""
        known = {*map(str, self.files), *map(str, self.notes), *(told.partition(": ")[0] for told in self.problems)}
        found = set[str]()
        for where, folders, names in os.walk(self.root):
            folders[:] = [name for name in folders if not name.startswith(".")]
            folder = Path(where)
            found |= {str(folder / name) for name in names if name.lower().endswith(SUFFIXES) and not name.startswith(".")}
        return [Path(path) for path in sorted(found - known)]


def open_dataset(
    root: Path,
    *,
    format: str = "auto",
    task: Task | Literal["auto"] = "auto",
    classes: list[SegmentationClass] | None = None,
    kind: ImageKind = RGB,
    tolerant: bool = False,
) -> Dataset:
    """List a dataset. `classes`, where given, stand in place of the dataset's own.

    Args:
        task: `auto` is `multilabel` where the format has a mask for every class, else `multiclass`.
        tolerant: note the files that cannot be used instead of refusing the dataset for them.

    Raises:
        DatasetError: no such folder, no format fits, files that cannot be used (all are listed), nothing in it, nobody names the
            classes, or the task is not theirs.
    """
    if not _is_text(root):
        raise DatasetError(f"{root}: the name of the folder, or of one that it is in, is not in UTF-8; rename it")
    if not root.is_dir():
        raise DatasetError(f"{root}: folder is missing; bring a dataset in with `make data SOURCE=<folder> FORMAT=<name>`")
    name, told_by = detect(root) if format == "auto" else (format, "was named")
    module = catalog.load("formats", name)
    samples, problems = _listed(module, root, tolerant=tolerant)
    if not samples and not problems:
        raise DatasetError(f"{root}: the dataset is empty: the format `{name}` found no image in it")
    if not samples:
        raise DatasetError(f"{root}: none of its files can be used", problems)
    found = classes or module.classes(root)
    if not found:
        raise DatasetError(
            f"{root}: nothing names the classes; write classes.json into it or list them under `classes:` in params.yaml"
        )
    illegible = [one.name for one in found if legible(one.name) != one.name]
    if illegible:
        raise DatasetError(f"{root}: the name of the class {illegible[0]} is not text; rename it")
    if alike := _alike([one.name for one in found]):
        raise DatasetError(f"{root}: the classes {alike}; rename one, or give all of one class the same name")
    if not 1 <= len(trained(found)) <= MAX_CLASSES:
        raise DatasetError(f"{root}: has {len(trained(found))} classes that are not ignored; expected 1 to {MAX_CLASSES}")
    unknown = sorted({name for sample in samples for name in sample.annotation.layers or ()} - {c.name for c in found})
    if unknown:
        raise DatasetError(
            f"{root}: there are masks of {', '.join(unknown)}, but the classes are {', '.join(c.name for c in found)}; "
            f"add them to the classes, with `ignore: true` if they are not to be learned"
        )
    notes = [*module.notes(root), *(path for path in [root / sample_table.NAME] if path.is_file())]
    return Dataset(root, name, told_by, _task(root, task, found, samples), found, samples, notes, kind, problems)


def _alike(names: Sequence[str]) -> str | None:
    """What is wrong with names, if anything is: spaces and the form of accents tell none from another; letter case may."""
    seen: dict[str, str] = {}
    for name in names:
        key = " ".join(unicodedata.normalize("NFC", name).split())
        if not key:
            return f"have one without a name ({name!r})"
        if key in seen:
            return f"{seen[key]!r} and {name!r} have the same name"
        seen[key] = name
    return None


def _listed(module: ModuleType, root: Path, *, tolerant: bool) -> tuple[list[Sample], list[str]]:
    """The samples that a format finds, and what is wrong with the rest."""
    samples, problems, noted = list[Sample](), list[str](), _noted(root)
    try:
        for sample in module.read(root):
            samples.append(sample)
    except DatasetError as error:
        if not error.problems:
            raise
        problems = error.problems
    of_ours = (root / NOTED).is_file()  # where DVC may have linked the files to its cache
    named, misnamed = _named((one for one in samples if one.id not in noted.left_out_ids), None if of_ours else Inside(root))
    found, clashes = _told_apart(named)
    table = sample_table.read(root / sample_table.NAME, {sample.id for sample in found})
    found = [_as_listed(sample, table) for sample in found if sample.id not in table.wrong]
    left = [
        one for one in [*problems, *misnamed, *clashes, *table.wrong.values()] if within(root, one) not in noted.left_out_here
    ]
    if left and not tolerant:
        raise DatasetError(f"{root}: {len(left)} files or entries cannot be used", left)
    return found, left


def _as_listed(sample: Sample, table: Table) -> Sample:
    """What the table says of a sample counts more than what its format does."""
    split, group = table.known.get(sample.id, (None, None))
    return replace(sample, split=split or sample.split, group=group or sample.group)


def _named(samples: Iterable[Sample], lies_inside: "Inside | None") -> tuple[list[Sample], list[str]]:
    """The samples but for those with a file that is not to be opened, and what is wrong with those."""
    found, problems = [], list[str]()
    for sample in samples:
        wrong = [told for path in sample.files if (told := _untouchable(path, lies_inside)) is not None]
        problems += wrong
        if not wrong:
            found.append(sample)
    return found, problems


def _untouchable(path: Path, lies_inside: "Inside | None") -> str | None:
    """Why a file is not to be opened, if so: archives from old systems have names that are no text, and pipes have no end."""
    if not _is_text(path):
        return legible(f"{path}: its name is not in UTF-8; rename it")
    if path.exists() and not path.is_file():
        return f"{path}: is no file that can be read to its end, but a device, a pipe or a link to one; put the file itself there"
    return None if lies_inside is None or lies_inside(path) else lies_inside.told(path)


class Inside:
    """Whether a file lies in a dataset's folder, whatever links lead to it; asked of many files of few folders."""

    def __init__(self, root: Path) -> None:
        self.root, self.folders = Path(os.path.realpath(root)), dict[Path, bool]()

    def __call__(self, path: Path) -> bool:
        folder = path.parent
        if folder not in self.folders:
            self.folders[folder] = self._of(folder / "x").is_relative_to(self.root)
        return self.folders[folder] and (not path.is_symlink() or self._of(path).is_relative_to(self.root))

    def told(self, path: Path) -> str:
        """Of one that does not."""
        return f"{path}: leads out of the folder, to {self._of(path)}; put the file itself there"

    def _of(self, path: Path) -> Path:
        return Path(os.path.realpath(path))  # which does not mind links that lead to themselves


def _is_text(path: Path) -> bool:
    return legible(str(path)) == str(path)


def _told_apart(samples: Iterable[Sample]) -> tuple[list[Sample], list[str]]:
    """The samples but for those whose id is another's to some file systems: in other letter case, or with accents in another form."""
    found: dict[str, Sample] = {}
    clashes = []
    for sample in samples:
        other = found.setdefault(unicodedata.normalize("NFC", sample.id).casefold(), sample)
        if other is not sample:
            how = "has the same name as" if other.id == sample.id else "differs only in letter case or the form of accents from"
            clashes.append(f"{sample.image_path}: {how} {other.image_path}; rename one")
    return list(found.values()), clashes


def within(root: Path, problem: str) -> str:
    """A problem with the paths as they are in the dataset's folder: the same wherever that lies."""
    return re.sub(rf"(?<![^\s'\"(]){re.escape(str(root))}/", "", problem)


def _task(root: Path, asked: Task | Literal["auto"], classes: list[SegmentationClass], samples: list[Sample]) -> Task:
    overlap = samples[0].annotation.layers is not None
    task: Task = ("multilabel" if overlap else "multiclass") if asked == "auto" else asked
    if overlap != (task == "multilabel"):
        has = "a mask for every class, which may overlap" if overlap else "one mask an image, with one class a pixel"
        fitting = "multilabel" if overlap else "multiclass or binary"
        raise DatasetError(f"{root}: dataset.task is {task!r}, but the dataset has {has}; set it to {fitting}")
    if not overlap and len(trained(classes)) == 1:
        only = trained(classes)[0].name
        raise DatasetError(
            f"{root}: {only} is the only class: there is nothing to tell it from; list what else the masks hold, such as the background"
        )
    if task == "binary" and len(trained(classes)) != 2:
        names = ", ".join(c.name for c in trained(classes))
        raise DatasetError(
            f"{root}: dataset.task is 'binary', but there are {len(trained(classes))} classes ({names}); expected 2"
        )
    return task


def detect(root: Path) -> tuple[str, str]:
    """The format that the dataset was brought in as, else the one format that recognises the folder; and what shows it."""
    noted = _noted(root).format
    if noted is not None:
        return noted, f"was brought in as that ({NOTED})"
    fitting = _fitting(root)
    if len(fitting) == 1:
        return next(iter(fitting.items()))
    if not fitting:
        for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
            if len(inside := _fitting(folder)) == 1:
                raise DatasetError(
                    f"{root}: is no dataset, but {folder.name} in it is one (`{next(iter(inside))}`); bring that folder in"
                )
    found = "; ".join(f"`{name}` fits as it {reason}" for name, reason in fitting.items())
    found = found or f"none of {', '.join(catalog.names('formats'))} fits"
    raise DatasetError(f"{root}: cannot tell its format: {found}; name it with FORMAT=<name> or `dataset.format`")


def _fitting(root: Path) -> dict[str, str]:
    """The formats that recognise a folder, and what shows it."""
    reasons = {name: catalog.load("formats", name).detect(root) for name in catalog.names("formats")}
    return {name: reason for name, reason in reasons.items() if reason is not None}


class Noted(pydantic.BaseModel):
    """What is written to a dataset as it is brought in.

    Attributes:
        format: what it was read as.
        left_out: what was wrong with the files that did not come along.
        left_out_ids: the samples that they were of, which lists still name.
        left_out_here: what else is therefore missing in the copy, which is as it should be.
    """

    format: str | None = None
    left_out: list[str] = []
    left_out_ids: list[str] = []
    left_out_here: list[str] = []


def _noted(root: Path) -> Noted:
    path = root / NOTED
    if not path.is_file():
        return Noted()
    try:
        noted = Noted.model_validate_json(path.read_text(encoding="utf-8"))
        catalog.check("formats", str(noted.format))
    except (ValueError, ParamsError) as error:
        raise DatasetError(f"{path}: does not name a format ({error}); remove it, and the files will tell") from error
    return noted


def unusable(dataset: Dataset, problems: Sequence[str]) -> DatasetError:
    """What to raise when some pairs, or the dataset's other files, are wrong."""
    every = [*dataset.problems, *problems]
    total = len(dataset.samples) + len(dataset.problems)
    return DatasetError(f"{dataset.root}: {len(every)} of {total} pairs are unusable, nothing was written", every)
