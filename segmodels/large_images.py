"""Images beyond what is decoded at once: read and written by windows, in a bounded memory. TIFF and GeoTIFF, which keep their place on earth."""

import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import rasterio
import tifffile
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from segmodels import bounds, workers
from segmodels.errors import DatasetError
from segmodels.images import TIFF, palette
from segmodels.samples import ImageArray, ImageKind, SegmentationClass, UInt8Array

BLOCK_PX = 512
"""Side of the tiles of a written mask; rows are kept until there are so many."""
CACHE_MB = 256
PREVIEW_PX = 2000
"""The longer side of what is shown of an image."""

READ_S = 120.0
"""How long a piece may take to be read."""


def large(paths: Sequence[Path]) -> list[Path]:
    """Those that are TIFF files of more pixels than are decoded at once."""
    asked = [path for path in paths if path.suffix.lower() in TIFF]
    if not asked:
        return []
    with workers.Apart() as apart:
        sizes = {path: apart(_size, path, seconds=READ_S) for path in asked}
    # what is wrong with the others is said when they are read
    return [path for path, size in sizes.items() if isinstance(size, tuple) and bounds.too_large(*size)]


@dataclass(frozen=True)
class _Head:
    """What a file says of itself.

    Attributes:
        unlike: what makes its image another than the values in it, if anything does.
    """

    height: int
    width: int
    num_channels: int
    dtypes: set[str]
    crs: Any
    transform: Any
    unlike: str | None


class LargeImage:
    """An image file that can be sliced as an array, H x W x channels, of which only the slices are read, by another process."""

    ndim = 3

    def __init__(self, path: Path, kind: ImageKind, apart: workers.Apart, folder: Path) -> None:
        self.path, self._apart, self._piece = path, apart, folder / "piece.npy"
        self._head: _Head = self._asked(_head)
        if self._head.num_channels not in (kind.channels, 1) or self._head.dtypes != {kind.dtype.name}:
            has = f"{self._head.num_channels} channels of {' and '.join(sorted(self._head.dtypes))}"
            raise DatasetError(f"{path}: has {has}; expected {kind.channels} of {kind.dtype.name}")
        if wrong := self._head.unlike:
            raise DatasetError(f"{path}: {wrong}, which is not read piece by piece; export it in gray or RGB, upright")
        self.shape = (self._head.height, self._head.width, kind.channels)
        self.dtype = kind.dtype

    @classmethod
    @contextmanager
    def opened(cls, path: Path, kind: ImageKind) -> Iterator[Self]:
        """Open a file.

        Raises:
            DatasetError: it cannot be read, or is no image of the kind; also by what is read of it later.
        """
        with tempfile.TemporaryDirectory(prefix="segmodels-") as folder, workers.Apart() as apart:
            yield cls(path, kind, apart, Path(folder))

    def __getitem__(self, where: tuple[slice, slice]) -> ImageArray:
        rows, columns = where
        return self._read(Window.from_slices(rows, columns, height=self.shape[0], width=self.shape[1]), None)

    def preview(self) -> ImageArray:
        """The whole made small."""
        return self._read(None, (self._head.num_channels, *self.size_of_preview()))

    def _read(self, window: Window | None, shape: tuple[int, int, int] | None) -> ImageArray:
        self._asked(_write_piece, window, shape, self._piece)
        return self._in_channels(np.load(self._piece))

    def _asked(self, function: Callable[..., Any], *args: Any) -> Any:
        """What the process that reads the file answers."""
        told = self._apart(function, self.path, *args, seconds=READ_S)
        if isinstance(told, workers.Ended):
            raise DatasetError(f"{self.path}: {told.how}; it is damaged, or made to do harm")
        if isinstance(told, str):
            raise DatasetError(f"{self.path}: cannot be read as TIFF ({told}); export it again")
        return told

    def _in_channels(self, read_CHW: ImageArray) -> ImageArray:
        """H x W x channels, as the kind has them; gray is repeated over them."""
        found: ImageArray = np.ascontiguousarray(
            np.broadcast_to(read_CHW, (self.shape[2], *read_CHW.shape[1:])).transpose(1, 2, 0)
        )
        return found

    def preview_of_mask(self, path: Path) -> UInt8Array:
        """A mask of this image that was written, made as small."""
        with _of_no_place(), rasterio.open(path) as file:
            small: UInt8Array = file.read(1, out_shape=self.size_of_preview())
        return small

    def size_of_preview(self) -> tuple[int, int]:
        """Height and width: of an image of any size at most PREVIEW_PX."""
        shrink = max(1.0, max(self.shape[:2]) / PREVIEW_PX)
        return max(1, round(self.shape[0] / shrink)), max(1, round(self.shape[1] / shrink))

    def write_mask(self, path: Path, bands: Iterable[tuple[int, UInt8Array]], classes: list[SegmentationClass]) -> None:
        """Write a labelling, rows x width, band after band, as a tiled TIFF with the classes' colours, in the image's place on earth."""
        profile = {
            "driver": "GTiff",
            "height": self.shape[0],
            "width": self.shape[1],
            "count": 1,
            "dtype": "uint8",
            "tiled": True,
            "blockxsize": BLOCK_PX,
            "blockysize": BLOCK_PX,
            "compress": "deflate",
            "bigtiff": "if_safer",
            "crs": self._head.crs,
            "transform": self._head.transform,
        }
        with _of_no_place(), rasterio.open(path, "w", **profile) as file:
            file.write_colormap(1, {value: (*map(int, color), 255) for value, color in enumerate(palette(classes))})
            for top, rows in _in_blocks(bands):
                file.write(rows, 1, window=Window(0, top, rows.shape[1], rows.shape[0]))


def _size(path: Path) -> tuple[int, int] | None:
    """Width and height of a file, if it can be read. Runs in a process of its own."""
    try:
        file = _opened(path)
        return int(file.width), int(file.height)
    except Exception:  # decoders of strangers' files raise what they like
        return None


def _head(path: Path) -> _Head | str:
    """What a file says of itself, or why it cannot be read. Runs in a process of its own."""
    try:
        file = _opened(path)
        size = int(file.height), int(file.width)
        return _Head(*size, file.count, set(file.dtypes), file.crs, file.transform, _unlike_what_it_holds(path))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _write_piece(path: Path, window: Window | None, shape: tuple[int, int, int] | None, into: Path) -> str | None:
    """Write a piece of a file, channels x H x W, to an array file; returns why it cannot be read, if so. Runs in a process of its own."""
    try:
        with rasterio.Env(GDAL_CACHEMAX=CACHE_MB):
            np.save(into, _opened(path).read(window=window, out_shape=shape), allow_pickle=False)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


@lru_cache(maxsize=1)
def _opened(path: Path) -> Any:
    """A file, kept open for its next piece."""
    with _of_no_place():
        return rasterio.open(path, driver="GTiff")


def _unlike_what_it_holds(path: Path) -> str | None:
    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        if page.tags.valueof("Orientation", default=1) != 1:
            return "does not lie upright"
        if page.photometric not in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR):
            return f"is in {page.photometric.name}"
        if page.bitspersample not in (8, 16):
            return f"has {page.bitspersample} bits a channel"
    return None


@contextmanager
def _of_no_place() -> Iterator[None]:
    """Most images are of no place on earth, which rasterio warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def _in_blocks(bands: Iterable[tuple[int, UInt8Array]]) -> Iterator[tuple[int, UInt8Array]]:
    """The same rows, BLOCK_PX at a time: a tile that is written twice leaves its first version in the file."""
    top, held = 0, list[UInt8Array]()
    for _, rows in bands:
        held.append(rows)
        joined = np.concatenate(held) if sum(map(len, held)) >= BLOCK_PX else None
        if joined is not None:
            whole = len(joined) // BLOCK_PX * BLOCK_PX
            yield top, joined[:whole]
            top += whole
            held = [joined[whole:]]
    rest = np.concatenate(held)
    if len(rest):
        yield top, rest
