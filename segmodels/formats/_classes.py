"""What several formats share: classes from `classes.json` or from the palettes of mask files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import pydantic

from segmodels import workers
from segmodels.errors import DatasetError
from segmodels.formats._files import read_json, read_text
from segmodels.images import Palette, palettes
from segmodels.samples import IGNORE_INDEX, MAX_CLASSES, SegmentationClass, default_color

AT_ONCE = 32
"""Masks that a worker is given at once."""
SECONDS_A_MASK = 60.0


_Byte = Annotated[int, pydantic.Field(ge=0, le=255)]


class _ClassEntry(pydantic.BaseModel):
    # other keys may stand beside these: tools and people keep more about a class than its name
    id: int = pydantic.Field(ge=0, le=65535)
    name: str = pydantic.Field(min_length=1)
    color: tuple[_Byte, _Byte, _Byte] | None = None
    ignore: bool = False


class _ClassesFile(pydantic.BaseModel):
    classes: list[_ClassEntry] = pydantic.Field(min_length=1, max_length=MAX_CLASSES)


def from_json(path: Path) -> list[SegmentationClass]:
    """`{"classes": [{"id": 0, "name": "sky", "color": [128, 128, 128], "ignore": false}, ...]}`; color and ignore may be missing."""
    try:
        listed = _ClassesFile.model_validate(read_json(path)).classes
    except pydantic.ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']} (is {e['input']!r})" for e in error.errors()]
        raise DatasetError(
            f'{path}: expected {{"classes": [{{"id": 0, "name": "sky", "color": [128, 128, 128]}}, ...]}}', problems
        ) from error
    classes = [
        SegmentationClass(one.name, one.id, one.color or default_color(index), one.ignore) for index, one in enumerate(listed)
    ]
    _refuse_repeated(path, classes, "name", "value")
    return classes


COLORS = ("label_colors.txt", "class_dict.csv")


def from_colors(path: Path) -> list[SegmentationClass]:
    """Lines `red green blue name`, or a table with the columns name, r, g and b. Classes called void, unlabelled or ignore are void."""
    problems, found = [], list[SegmentationClass]()
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.strip().rsplit(",", 3) if path.suffix == ".csv" else line.split(maxsplit=3)
        if not line.strip() or (number == 1 and words[-1].strip().lower() == "b"):
            continue
        *numbers, name = [*words[1:], words[0]] if path.suffix == ".csv" else words
        try:
            red, green, blue = (int(one) for one in numbers)
            if not all(0 <= one <= 255 for one in (red, green, blue)):
                raise ValueError
        except ValueError:
            problems.append(
                f"{path}:{number}: {line!r}; expected {'name,r,g,b' if path.suffix == '.csv' else 'red green blue name'}"
            )
            continue
        ignore = name.strip().lower() in ("void", "unlabelled", "unlabeled", "ignore")
        found.append(SegmentationClass(name.strip(), len(found), (red, green, blue), ignore))
    if problems:
        raise DatasetError(f"{path}: {len(problems)} wrong lines", problems)
    _refuse_repeated(path, found, "name", "color")
    return found


def _refuse_repeated(path: Path, classes: Sequence[SegmentationClass], *attributes: str) -> None:
    for what in attributes:
        values = [getattr(one, what) for one in classes]
        if len(set(values)) < len(values):
            raise DatasetError(f"{path}: two classes have the same {'id' if what == 'value' else what}: {values}")


def from_palettes(mask_paths: Sequence[Path]) -> list[SegmentationClass] | None:
    """The colours of palette masks as classes named `class_0`, `class_1`, ...; None when the masks have no palette.

    The classes are all values up to the largest one used, since a palette always holds 256 colours; 255 is void.
    """
    first, colors, largest = Path(), list[tuple[int, int, int]](), 0
    for path, found in _palettes(mask_paths):
        if found is None and not colors:
            return None
        if found is None:
            raise DatasetError(f"{path}: has no palette, but {first} has one; write classes.json")
        its_colors, values = found
        if not colors:
            first, colors = path, its_colors
        values = [value for value in values if value != IGNORE_INDEX]
        other = [value for value in values if value < min(len(colors), len(its_colors)) and its_colors[value] != colors[value]]
        if other:
            raise DatasetError(
                f"{path}: its palette has another colour for {other[0]} than that of {first}; write label_colors.txt (`red green blue name`) "
                f"if the colours mean the classes, or classes.json if the values do"
            )
        colors += its_colors[len(colors) :]
        largest = max([largest, *values])
    if not colors:
        return None
    colors += [default_color(value) for value in range(len(colors), largest + 1)]  # a palette may stop short of the values used
    return [SegmentationClass(f"class_{value}", value, colors[value]) for value in range(largest + 1)]


def _palettes(mask_paths: Sequence[Path]) -> Iterator[tuple[Path, Palette | None]]:
    """Each mask's palette, in turn; none of those that cannot be read, or end who reads them: that is told where their pairs are looked at."""
    chunks = [mask_paths[start : start + AT_ONCE] for start in range(0, len(mask_paths), AT_ONCE)]
    for chunk, found in zip(chunks, workers.each(palettes, chunks, seconds=_seconds), strict=True):
        if isinstance(found, workers.Ended):
            found = [
                one
                for alone in workers.each(palettes, [[path] for path in chunk], seconds=_seconds)
                for one in ([alone.how] if isinstance(alone, workers.Ended) else alone)
            ]
        yield from ((path, one) for path, one in zip(chunk, found, strict=True) if not isinstance(one, str))


def _seconds(paths: Sequence[Path]) -> float:
    return SECONDS_A_MASK * len(paths)
