"""The ways in which pixels are labelled: mask files, a file a class, a file an object, polygons and run lengths, coloured segments.

Whatever the way, what comes out is the same: class indices at the image's size, and where somebody told objects apart, their numbers.
What is drawn later lies over what was drawn before, as the labelling tools show it. Pixels that nothing was said of are of the class
`background` where there is one, else void.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as run_lengths

from segmodels.errors import DatasetError
from segmodels.images import read_bitmap, read_codes, read_layer, read_mask
from segmodels.samples import IGNORE_INDEX, Int32Array, SegmentationClass, UInt8Array, trained

BACKGROUND = "background"

FARTHEST_PX = 1e9
"""Corners farther from the image are a fault of the file, not of a person who drew."""

Size = tuple[int, int]
"""Height and width in pixels."""


def is_background(name: str) -> bool:
    """Whether a class is what tools call the rest: `background`, `_background_`, `Background`."""
    return name.strip("_").lower() == BACKGROUND


@dataclass(frozen=True, slots=True)
class MaskFile:
    """One picture with a class a pixel: its values are the classes', or its colours are.

    Attributes:
        objects: a picture with a value or a colour for each object, if there is one.
        no_object: its values for pixels that belong to none.
    """

    path: Path
    objects: Path | None = None
    no_object: frozenset[int] = frozenset({0})

    @property
    def files(self) -> list[Path]:
        return [self.path] if self.objects is None else [self.path, self.objects]

    @property
    def layers(self) -> None:
        return None

    def key(self, digest: Callable[[Path], str]) -> str:
        return _key("mask", [digest(path) for path in self.files], sorted(self.no_object))

    def labelling(self, size_HW: Size, classes: Sequence[SegmentationClass]) -> UInt8Array:
        mask_HW: UInt8Array = _of_size(read_mask(self.path, classes), size_HW, self.path)
        return mask_HW

    def instances(self, size_HW: Size) -> Int32Array | None:
        if self.objects is None:
            return None
        codes_HW = _of_size(read_codes(self.objects), size_HW, self.objects)
        found = np.setdiff1d(codes_HW, list(self.no_object))
        numbers = np.where(np.isin(codes_HW, found), np.searchsorted(found, codes_HW) + 1, 0)
        return numbers.astype(np.int32)


@dataclass(frozen=True)
class LayerFiles:
    """A picture for each class, which may overlap; a class without one is not in the image."""

    by_class: Mapping[str, Path]

    @property
    def files(self) -> list[Path]:
        return list(self.by_class.values())

    @property
    def layers(self) -> list[str]:
        return list(self.by_class)

    def key(self, digest: Callable[[Path], str]) -> str:
        return _key("layers", sorted((name, digest(path)) for name, path in self.by_class.items()))

    def labelling(self, size_HW: Size, classes: Sequence[SegmentationClass]) -> UInt8Array:
        names = [one.name for one in trained(classes)]
        labelling_CHW = np.zeros((len(names), *size_HW), np.uint8)
        for name, path in self.by_class.items():
            layer_HW = _of_size(read_layer(path), size_HW, path)
            if name in names:  # the others are ignored
                labelling_CHW[names.index(name)] = layer_HW
        return labelling_CHW

    def instances(self, size_HW: Size) -> None:
        return None


@dataclass(frozen=True)
class ObjectFiles:
    """A picture for each object of one class, not 0 where the object is."""

    name: str
    paths: Sequence[Path]

    @property
    def files(self) -> list[Path]:
        return list(self.paths)

    @property
    def layers(self) -> None:
        return None

    def key(self, digest: Callable[[Path], str]) -> str:
        return _key("objects", self.name, [digest(path) for path in self.paths])

    def labelling(self, size_HW: Size, classes: Sequence[SegmentationClass]) -> UInt8Array:
        index_of, rest = _indices(classes)
        _refuse_unknown({self.name}, index_of, self.paths[0].parent)
        return np.where(self.instances(size_HW) > 0, index_of[self.name], rest).astype(np.uint8)

    def instances(self, size_HW: Size) -> Int32Array:
        numbers = np.zeros(size_HW, np.int32)
        for number, path in enumerate(self.paths, start=1):
            numbers[_of_size(read_layer(path), size_HW, path) == 1] = number
        return numbers


@dataclass(frozen=True)
class PngBox:
    """The pixels of a PNG that are not 0."""

    png: bytes

    def decoded(self) -> NDArray[np.bool_]:
        return read_bitmap(self.png)


@dataclass(frozen=True)
class RunsBox:
    """Run lengths, row by row, first of what is not in it."""

    runs: tuple[int, ...]
    size_HW: Size

    def decoded(self) -> NDArray[np.bool_]:
        pixels: NDArray[np.bool_] = np.repeat(np.arange(len(self.runs)) % 2 == 1, self.runs).reshape(self.size_HW)
        return pixels


Box = PngBox | RunsBox
"""As a file has it: it is decoded where it is drawn, by a worker, and only then takes memory."""


@dataclass(frozen=True)
class Region:
    """A part of an image that is of one class.

    Attributes:
        rings: closed lines of corners, N x 2, x and y in pixels from the image's upper left corner. One that lies within another and
            runs the other way round is a hole in it.
        runs: instead of rings, run lengths as COCO has them (`{"counts": ..., "size": [height, width]}`).
        box: instead of both, the pixels of a box whose upper left corner is at `corner` (row, column).
        object: whose part it is: regions of the same object have the same; None for one of its own.
        crowd: of many objects that nobody told apart.
    """

    name: str
    rings: Sequence[NDArray[np.float64]] = ()
    runs: Mapping[str, Any] | None = None
    box: Box | None = None
    corner: tuple[int, int] = (0, 0)
    object: str | None = None
    crowd: bool = False

    @property
    def key(self) -> str:
        pixels = [(one.shape, one.dtype.str, one.tobytes()) for one in self.rings]
        runs = None if self.runs is None else sorted(self.runs.items())
        return _key(self.name, pixels, runs, self.box, self.corner, self.object, self.crowd)

    def drawn(self, size_HW: Size, scale: tuple[float, float]) -> NDArray[np.bool_]:
        """The pixels it covers, H x W. Corners are multiplied by `scale`, of x and y."""
        height, width = size_HW
        if self.box is not None:
            bitmap = self.box.decoded()
            (top, left), (rows, columns) = self.corner, bitmap.shape
            if top < 0 or left < 0 or top + rows > height or left + columns > width:
                raise ValueError(f"a box of {columns} x {rows} at column {left}, row {top} reaches beyond the image")
            drawn = np.zeros(size_HW, bool)
            drawn[top : top + rows, left : left + columns] = bitmap
            return drawn
        if self.runs is not None:
            runs: Any = dict(self.runs)
            if tuple(runs["size"]) != size_HW:  # before memory is taken for as many pixels as it says
                raise ValueError(f"its size is {str(runs['size'])[:80]}, the image's {list(size_HW)}, height before width")
            lengths = runs["counts"] if isinstance(runs["counts"], list) else _unpacked(runs["counts"])
            if min(lengths, default=0) < 0 or sum(lengths) != height * width:  # what is missing would be whatever lay in memory
                raise ValueError(f"its runs are of {sum(lengths)} pixels, the image of {height * width}")
            return _decoded(run_lengths.frPyObjects(runs | {"counts": lengths}, height, width))
        covered, holes = np.zeros(size_HW, bool), np.zeros(size_HW, bool)
        rings = [ring * scale for ring in self.rings]
        for ring in rings:
            if not (np.abs(ring) <= FARTHEST_PX).all():
                raise ValueError("a corner is no number, or a billion pixels away")
        for ring in rings:
            if any(_is_hole(ring, other) for other in rings if other is not ring):
                holes |= _filled(ring, size_HW)
            else:
                covered |= _filled(ring, size_HW)
        return covered & ~holes


@dataclass(frozen=True)
class Regions:
    """Regions as a file lists them.

    Attributes:
        path: the file; None where there is none, which says that the image has nothing in it. `where`: which part, for messages.
        size_HW: the size it says the image has; None if it does not.
        shares: corners are given in shares of width and height, not in pixels.
    """

    path: Path | None
    regions: Sequence[Region]
    size_HW: Size | None = None
    where: str = ""
    shares: bool = False

    @property
    def files(self) -> list[Path]:
        return [] if self.path is None else [self.path]

    @property
    def layers(self) -> None:
        return None

    def key(self, _: Callable[[Path], str]) -> str:
        return _key("regions", self.size_HW, self.shares, [one.key for one in self.regions])  # the file is of other images too

    def labelling(self, size_HW: Size, classes: Sequence[SegmentationClass]) -> UInt8Array:
        self._refuse_other_size(size_HW)
        index_of, rest = _indices(classes)
        _refuse_unknown({one.name for one in self.regions}, index_of, self._here)
        labelling_HW = np.full(size_HW, rest, np.uint8)
        for one in self.regions:
            labelling_HW[self._drawn(one, size_HW)] = index_of[one.name]
        return labelling_HW

    def instances(self, size_HW: Size) -> Int32Array:
        self._refuse_other_size(size_HW)
        numbers, number_of = np.zeros(size_HW, np.int32), dict[str, int]()
        for place, one in enumerate(self.regions):
            number = number_of.setdefault(one.object or f"\0{place}", len(number_of) + 1)
            numbers[self._drawn(one, size_HW)] = 0 if one.crowd or is_background(one.name) else number
        return numbers

    def _drawn(self, region: Region, size_HW: Size) -> NDArray[np.bool_]:
        try:
            return region.drawn(size_HW, (size_HW[1], size_HW[0]) if self.shares else (1, 1))
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise DatasetError(f"{self._here}: a {region.name!r} cannot be drawn ({error}); export it again") from error

    def _refuse_other_size(self, size_HW: Size) -> None:
        if self.size_HW is not None and self.size_HW != size_HW:
            raise DatasetError(
                f"{self._here}: was drawn on an image of {_size(self.size_HW)}, which is {_size(size_HW)} now; export both again"
            )

    @property
    def _here(self) -> str:
        return f"{self.path}, {self.where}" if self.where else str(self.path)


@dataclass(frozen=True)
class Segment:
    """What a coloured segment is."""

    name: str
    crowd: bool = False
    thing: bool = True


@dataclass(frozen=True)
class SegmentsFile:
    """A picture whose colours are the numbers of segments, red + 256 green + 65536 blue; 0 is void.

    Attributes:
        path: the picture; `listed_in` is the file that says what the segments are.
    """

    path: Path
    listed_in: Path
    segments: Mapping[int, Segment]

    @property
    def files(self) -> list[Path]:
        return [self.path, self.listed_in]

    @property
    def layers(self) -> None:
        return None

    def key(self, digest: Callable[[Path], str]) -> str:
        return _key("segments", digest(self.path), sorted(self.segments.items()))

    def labelling(self, size_HW: Size, classes: Sequence[SegmentationClass]) -> UInt8Array:
        index_of, _ = _indices(classes)
        _refuse_unknown({one.name for one in self.segments.values()}, index_of, self.listed_in)
        indices = {number: index_of[one.name] for number, one in self.segments.items()}
        return self._looked_up(size_HW, {0: IGNORE_INDEX} | indices).astype(np.uint8)

    def instances(self, size_HW: Size) -> Int32Array:
        things = [number for number, one in self.segments.items() if one.thing and not one.crowd]
        numbers = dict.fromkeys((0, *self.segments), 0) | {number: place for place, number in enumerate(things, start=1)}
        return self._looked_up(size_HW, numbers)

    def _looked_up(self, size_HW: Size, value_of: Mapping[int, int]) -> Int32Array:
        codes_HW = _of_size(read_codes(self.path), size_HW, self.path)
        present, inverse = np.unique(codes_HW, return_inverse=True)
        unknown = [number for number in present.tolist() if number not in value_of]
        if unknown:
            raise DatasetError(f"{self.path}: {self.listed_in} does not list its segments {unknown[:8]}; export both again")
        return np.array([value_of[number] for number in present.tolist()], np.int32)[inverse.reshape(codes_HW.shape)]


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _filled(ring: NDArray[np.float64], size_HW: Size) -> NDArray[np.bool_]:
    if len(ring) < 3:
        raise ValueError(f"{len(ring)} corners, expected three or more")
    height, width = size_HW
    # pycocotools draws beyond the image too, but in time and memory that grow with the length of the lines
    near = _cropped(ring, (-width, -height), (2 * width, 2 * height))
    if len(near) < 3:
        return np.zeros(size_HW, bool)
    [runs] = run_lengths.frPyObjects([near.reshape(-1).tolist()], height, width)  # type: ignore[arg-type]  # takes floats too
    return _decoded(runs)


def _cropped(ring: NDArray[np.float64], low: tuple[float, float], high: tuple[float, float]) -> NDArray[np.float64]:
    """What of a ring lies in a box from `low` to `high`, x and y (Sutherland and Hodgman, doi:10.1145/360767.360802)."""
    for axis, sign, bound in ((0, -1, low[0]), (1, -1, low[1]), (0, 1, high[0]), (1, 1, high[1])):
        beyond = sign * (ring[:, axis] - bound)
        inside, next_beyond = beyond <= 0, np.roll(beyond, -1)
        crosses = inside != (next_beyond <= 0)
        along = np.divide(beyond, beyond - next_beyond, out=np.zeros(len(ring)), where=crosses)
        crossings = ring + (np.roll(ring, -1, axis=0) - ring) * along[:, None]
        ring = np.stack([ring, crossings], axis=1)[np.stack([inside, crosses], axis=1)]
    return ring


def _decoded(runs: Any) -> NDArray[np.bool_]:
    pixels: NDArray[np.bool_] = run_lengths.decode(runs) == 1
    return pixels


def _unpacked(counts: str | bytes) -> list[int]:
    """The run lengths in COCO's text: five bits a character, the lowest first, and from the third on the difference from the last but one."""
    found = list[int]()
    value = shift = 0
    for character in counts.encode() if isinstance(counts, str) else counts:
        bits = character - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)
            found.append(value + (found[-2] if len(found) > 2 else 0))
            value = shift = 0
    return found


def _is_hole(ring: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    if (_area(ring) > 0) == (_area(other) > 0) or abs(_area(ring)) >= abs(_area(other)):
        return False
    return bool(all(_contains(other, x, y) for x, y in ring))


def _area(ring: NDArray[np.float64]) -> float:
    """Positive where the corners go one way round, negative where they go the other (the shoelace formula)."""
    x, y = ring[:, 0], ring[:, 1]
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def _contains(ring: NDArray[np.float64], x: float, y: float) -> bool:
    """Whether a point lies within, or on the line: a hole may touch it."""
    here, there = ring, np.roll(ring, -1, axis=0)
    way, to_point = there - here, np.array([x, y]) - here
    beside = way[:, 0] * to_point[:, 1] - way[:, 1] * to_point[:, 0]
    along = (way * to_point).sum(axis=1)
    if ((np.abs(beside) < 1e-9) & (along >= 0) & (along <= (way * way).sum(axis=1))).any():
        return True
    crossing = (here[:, 1] > y) != (there[:, 1] > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = here[:, 0] + (y - here[:, 1]) * way[:, 0] / way[:, 1]
    return bool((crossing & (x < at)).sum() % 2)


def _indices(classes: Sequence[SegmentationClass]) -> tuple[dict[str, int], int]:
    """The index of every class by name, and that of what nothing was said of."""
    learned = trained(classes)
    index_of = {one.name: IGNORE_INDEX for one in classes} | {one.name: index for index, one in enumerate(learned)}
    rest = next((index for index, one in enumerate(learned) if is_background(one.name)), IGNORE_INDEX)
    return index_of, rest


def _refuse_unknown(names: set[str], index_of: Mapping[str, int], where: str | Path) -> None:
    unknown = sorted(names - index_of.keys())
    if unknown:
        raise DatasetError(
            f"{where}: labels {', '.join(map(repr, unknown))}, but the classes are {', '.join(index_of)}; add the class or mend the label"
        )


def _of_size(array: Any, size_HW: Size, path: Path) -> Any:
    if array.shape != size_HW:
        raise DatasetError(
            f"{path}: mask is {_size(array.shape)}, its image {_size(size_HW)}; re-export the mask at the image's size"
        )
    return array


def _size(size_HW: Sequence[int]) -> str:
    return f"{size_HW[1]} x {size_HW[0]} (width x height)"
