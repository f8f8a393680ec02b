"""Images beyond what is decoded at once: read and written by windows, in a bounded memory. TIFF and GeoTIFF, which keep their place on earth."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import rasterio
import tifffile
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from segmodels import bounds
from segmodels.errors import DatasetError
from segmodels.images import TIFF, palette
from segmodels.samples import ImageArray, ImageKind, SegmentationClass, UInt8Array

BLOCK_PX = 512
"""Side of the tiles of a written mask; rows are kept until there are so many."""
CACHE_MB = 256
PREVIEW_PX = 2000
"""The longer side of what is shown of an image."""


def is_large(path: Path) -> bool:
    """Whether it is a TIFF file of more pixels than are decoded at once."""
    if path.suffix.lower() not in TIFF:
        return False
    try:
        with _of_no_place(), rasterio.open(path, driver="GTiff") as file:
            return bounds.too_large(file.width, file.height) is not None
    except RasterioError:  # what is wrong with it is said when it is read
        return False


class LargeImage:
    """An image file that can be sliced as an array, H x W x channels, of which only the slices are read."""

    ndim = 3

    def __init__(self, file: Any, path: Path, kind: ImageKind) -> None:
        self._file, self.path = file, path
        self.shape = (int(file.height), int(file.width), kind.channels)
        self.dtype = kind.dtype

    @classmethod
    @contextmanager
    def opened(cls, path: Path, kind: ImageKind) -> Iterator[Self]:
        """Open a file.

        Raises:
            DatasetError: it cannot be read, or is no image of the kind.
        """
        try:
            with _of_no_place(), rasterio.Env(GDAL_CACHEMAX=CACHE_MB), rasterio.open(path, driver="GTiff") as file:
                if file.count not in (kind.channels, 1) or set(file.dtypes) != {kind.dtype.name}:
                    raise DatasetError(
                        f"{path}: has {file.count} channels of {file.dtypes[0]}; expected {kind.channels} of {kind.dtype.name}"
                    )
                if wrong := _unlike_what_it_holds(path):
                    raise DatasetError(f"{path}: {wrong}, which is not read piece by piece; export it in gray or RGB, upright")
                yield cls(file, path, kind)
        except RasterioError as error:
            raise DatasetError(f"{path}: cannot be read as TIFF ({error}); export it again") from error

    def __getitem__(self, where: tuple[slice, slice]) -> ImageArray:
        rows, columns = where
        window = Window.from_slices(rows, columns, height=self.shape[0], width=self.shape[1])
        return self._in_channels(self._file.read(window=window))

    def preview(self) -> ImageArray:
        """The whole made small."""
        return self._in_channels(self._file.read(out_shape=(self._file.count, *self.size_of_preview())))

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
            "crs": self._file.crs,
            "transform": self._file.transform,
        }
        with _of_no_place(), rasterio.open(path, "w", **profile) as file:
            file.write_colormap(1, {value: (*map(int, color), 255) for value, color in enumerate(palette(classes))})
            for top, rows in _in_blocks(bands):
                file.write(rows, 1, window=Window(0, top, rows.shape[1], rows.shape[0]))


def _unlike_what_it_holds(path: Path) -> str | None:
    """What makes the image of a file another than the values in it, if anything does."""
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
