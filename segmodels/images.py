"""Image and mask files to arrays and back. Only named file formats are opened; anything doubtful is an error, never a guess."""

import io
import logging
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from segmodels import bounds
from segmodels.errors import DatasetError
from segmodels.samples import IGNORE_INDEX, RGB, Color, ImageArray, ImageKind, Int32Array, SegmentationClass, UInt8Array, trained

FILE_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")

_LAYER = {0: 0, 1: 1, 255: 1, 127: IGNORE_INDEX, 128: IGNORE_INDEX}
_PNG_END = b"IEND\xaeB`\x82"
"""The last chunk's name and checksum, without which somebody was still writing."""
TIFF = (".tif", ".tiff")
MANY_BORDERS, MANY_PAIRS, INTERPOLATED, MOSTLY = 50, 3, 0.12, 0.6
"""Of so many pixels where classes meet, what share must hold ids in between for a mask to be taken for scaled: of CamVid's masks at most 0.01
do, and 0.18 and more when they are scaled bilinearly by 0.5 to 2."""
_RAW, _SIXTEEN = "segmodels: raw mode", ";16"
"""Where `_decode` keeps how Pillow reads a file's pixels, and what it then says of such as it would cut down to 8 bits."""
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")
Palette = tuple[list[Color], list[int]]
"""A picture's colours by their values, and the values that it holds."""
_EIGHT_BIT = ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "PA")


def read_image(path: Path, kind: ImageKind = RGB) -> ImageArray:
    """An image as H x W x channels of a kind, turned upright by its EXIF orientation.

    Gray is repeated over three channels, colours become gray where there is one; CMYK and palettes are converted; opaque alpha is dropped.
    Where 16 bits are wanted, images of 8 are spread over them (255 is 65535). More than three channels are read from TIFF files.

    Raises:
        DatasetError: missing, truncated, not an image, half-transparent, too large, deeper than the kind or of other channels.
    """
    if kind.channels not in (1, 3) or (path.suffix.lower() in TIFF and _needs_tifffile(path)):
        image = _read_channels(path, kind)
    else:
        image = _read_picture(path, kind)
    if image.dtype == np.uint16 and kind.bits == 8:
        raise DatasetError(
            f"{path}: image has 16 bits a channel; re-export it with 8, or train on all of them: dataset.bits: 16 in params.yaml"
        )
    if image.dtype == np.uint8 and kind.bits == 16:
        image = image.astype(np.uint16) * 257
    return np.ascontiguousarray(image)


def _read_picture(path: Path, kind: ImageKind) -> ImageArray:
    """An image of one or three channels, of as many bits as its file has."""
    image = _open(path)
    if image.mode in _SIXTEEN_BIT or _SIXTEEN in str(image.info.get(_RAW, "")):
        return _read_deep(path, image, kind)
    if image.mode not in _EIGHT_BIT:
        raise DatasetError(f"{path}: image has mode {image.mode}; re-export it with 8 or 16 bits a channel, as whole numbers")
    if image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if (alpha != 255).any():
            raise DatasetError(f"{path}: image is partly transparent; flatten it onto a background")
    upright = ImageOps.exif_transpose(image)
    return np.array(upright.convert("RGB")) if kind.channels == 3 else np.array(upright.convert("L"))[..., None]


def _read_deep(path: Path, image: Image.Image, kind: ImageKind) -> ImageArray:
    """An image of 16 bits, which Pillow reads in gray alone; it has checked the file."""
    if image.mode in _SIXTEEN_BIT:
        values = np.asarray(ImageOps.exif_transpose(image))
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise DatasetError(f"{path}: image has values beyond 0 to 65535; re-export it with 16 bits a channel")
        return np.repeat(values.astype(np.uint16)[..., None], kind.channels, axis=2)
    decoded = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16 or decoded.ndim != 3 or decoded.shape[2] not in (3, 4):
        raise DatasetError(f"{path}: image of 16 bits cannot be read; re-export it as PNG or TIFF in gray or RGB")
    if decoded.shape[2] == 4 and (decoded[..., 3] != 65535).any():
        raise DatasetError(f"{path}: image is partly transparent; flatten it onto a background")
    rgb = _turned(np.ascontiguousarray(decoded[..., 2::-1], np.uint16), image.getexif().get(ExifTags.Base.Orientation, 1))
    return rgb if kind.channels == 3 else np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint16)[..., None]


def _read_channels(path: Path, kind: ImageKind) -> ImageArray:
    """An image of as many channels as the kind, from a TIFF file: beside each other, in planes or in pages."""
    if path.suffix.lower() not in TIFF:
        raise DatasetError(
            f"{path}: images of {kind.channels} channels are read from TIFF files alone; export it as one, or set dataset.channels"
        )
    height, width, channels = _tiff_shape(path)
    if channels != kind.channels:
        raise DatasetError(
            f"{path}: image has {channels} channels, the dataset {kind.channels}; export it anew, or set dataset.channels in params.yaml"
        )
    if wrong := bounds.too_large(width, height):
        raise DatasetError(f"{path}: {wrong}")
    values = _tiff(path, lambda file: file.series[0].asarray())
    image: ImageArray = values if values.shape[-1] == channels else np.moveaxis(values, 0, -1)
    image = _turned(image, _tiff(path, lambda file: file.pages.first.tags.valueof("Orientation", default=1)))
    if image.dtype not in (np.uint8, np.uint16):
        raise DatasetError(f"{path}: image is of {image.dtype}; re-export it with 8 or 16 bits a channel, as whole numbers")
    return image


def _turned(image_HWC: ImageArray, orientation: int) -> ImageArray:
    """An image turned upright, as EXIF numbers the ways it may lie."""
    if orientation >= 5:
        image_HWC = image_HWC.transpose(1, 0, 2)
    down, across = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return image_HWC[:: -1 if down else 1, :: -1 if across else 1]


def _needs_tifffile(path: Path) -> bool:
    """Whether a TIFF file has more channels than Pillow reads, or keeps them in pages, of which Pillow would read the first alone."""
    return _tiff_shape(path)[2] > 4 or _tiff(path, lambda file: len(file.series[0].pages)) > 1


def _tiff_shape(path: Path) -> tuple[int, int, int]:
    """Height, width and channels that a TIFF file says its first image has; the smallest of three sides are the channels."""
    shape = _tiff(path, lambda file: file.series[0].shape)
    if len(shape) == 2:
        return shape[0], shape[1], 1
    if len(shape) != 3:
        raise DatasetError(f"{path}: has {len(shape)} dimensions; expected height, width and channels")
    planes_first = shape[0] < shape[2]
    return (shape[1], shape[2], shape[0]) if planes_first else (shape[0], shape[1], shape[2])


def _tiff(path: Path, read: Callable[[tifffile.TiffFile], Any]) -> Any:
    if not path.is_file():
        raise DatasetError(f"{path}: file is missing")
    told = _Told()
    logger = logging.getLogger("tifffile")  # where it says what is wrong with a file, and goes on
    logger.addHandler(told)
    propagate, logger.propagate = logger.propagate, False
    try:
        with tifffile.TiffFile(path) as file:
            found = read(file)
        if told.lines:
            raise ValueError(told.lines[0])
        return found
    except (tifffile.TiffFileError, ValueError, IndexError, KeyError, TypeError, struct.error, zlib.error, EOFError) as error:
        raise DatasetError(f"{path}: cannot be read as TIFF ({error}); export it again") from error
    finally:
        logger.removeHandler(told)
        logger.propagate = propagate


class _Told(logging.Handler):
    """Keeps warnings instead of printing them."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


_BEGINNINGS = (
    (b"\x89PNG\r\n", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"II+\0", ".tif"),  # BigTIFF
    (b"MM\0+", ".tif"),
    (b"BM", ".bmp"),
)
BEGINNING_BYTES = 12
"""What `suffix_of` looks at."""


def suffix_of(content: bytes) -> str:
    """The suffix of an image file by its first bytes; none if it is of no format that is read here."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for beginning, suffix in _BEGINNINGS if content.startswith(beginning)), "")


def shown(image_HWC: ImageArray) -> UInt8Array:
    """An image of any kind as people look at it, H x W x 3 uint8: its first three channels, or its first as gray; 16 bits are stretched."""
    three = image_HWC[..., :3] if image_HWC.shape[2] >= 3 else np.repeat(image_HWC[..., :1], 3, axis=2)
    if three.dtype == np.uint8:
        return three.astype(np.uint8, copy=False)
    low, high = np.percentile(three, (0.5, 99.5))
    stretched: UInt8Array = (np.clip((three - low) / max(high - low, 1), 0, 1) * 255).round().astype(np.uint8)
    return stretched


def read_mask(path: Path, classes: Sequence[SegmentationClass]) -> UInt8Array:
    """A mask as class indices, H x W uint8, IGNORE_INDEX where void.

    One-channel and palette files hold each class's `value` (255 is void unless a class claims it); colour files hold its `color`, or
    its value in all channels. A palette whose colours are those of other classes than the values is that of a colour file made small.

    Raises:
        DatasetError: unreadable, lossy, or a value or colour that no class has.
    """
    image = _open_exact(path, "mask")
    if image.mode == "P" and _is_by_color(image, classes):
        return _index_colors(np.asarray(image.convert("RGB")), classes, path)
    if image.mode == "1":
        yes = 1 if any(one.value == 1 for one in classes) else 255
        return _index_values(np.where(np.asarray(image), np.uint8(yes), np.uint8(0)), classes, path)
    if image.mode in ("L", "P", "I;16", "I"):
        values_HW = np.asarray(image)
        if (spread := _spread(image)) > 1 and not _are_values(
            values_HW, classes
        ):  # programs that make files small spread them too
            values_HW = values_HW // spread
        return _index_values(values_HW, classes, path)
    if image.mode in ("RGB", "RGBA"):
        return _index_colors(np.asarray(image), classes, path)
    raise DatasetError(f"{path}: mask has mode {image.mode}; export it as an 8-bit one-channel or RGB PNG")


def read_layer(path: Path) -> UInt8Array:
    """The mask of one of several overlapping classes, H x W uint8: 1 where the class is, 0 where not, IGNORE_INDEX where void.

    The file holds 0 for no, 1 or 255 for yes, 127 or 128 for void.

    Raises:
        DatasetError: unreadable, lossy, or any other value.
    """
    image = _open_exact(path, "mask")
    if image.mode not in ("1", "L", "P"):
        raise DatasetError(f"{path}: mask has mode {image.mode}; export it as an 8-bit one-channel PNG of 0 (no) and 255 (yes)")
    values_HW = np.asarray(image.convert("L") if image.mode == "1" else image)
    if (spread := _spread(image)) > 1:
        values_HW = np.where(values_HW == 255, np.uint8(255), values_HW // spread)
    unknown = [int(value) for value in np.flatnonzero(np.bincount(values_HW.reshape(-1), minlength=256)) if value not in _LAYER]
    if unknown:
        raise DatasetError(f"{path}: mask holds {_list(unknown)}; expected 0 (no), 255 or 1 (yes), 127 or 128 (void)")
    lookup = np.zeros(256, np.uint8)
    for value, label in _LAYER.items():
        lookup[value] = label
    layer: UInt8Array = lookup[values_HW]
    return layer


def read_codes(path: Path) -> Int32Array:
    """Every pixel as one number, H x W: its value, or red + 256 green + 65536 blue. For pictures that number things.

    Raises:
        DatasetError: unreadable, lossy, or neither of the two.
    """
    image = _open_exact(path, "picture of numbers")
    values = np.asarray(image)
    if image.mode in ("L", "P", "I;16", "I"):
        return (values // _spread(image)).astype(np.int32)
    if image.mode == "RGB":
        wide = values.astype(np.int32)
        codes: Int32Array = wide[..., 0] + 256 * wide[..., 1] + 65536 * wide[..., 2]
        return codes
    raise DatasetError(f"{path}: has mode {image.mode}; expected numbers in one channel or in RGB")


def _spread(image: Image.Image) -> int:
    """By how much Pillow multiplies the values of a gray picture of 2 or 4 bits, so that the largest is 255."""
    return next((by for raw, by in ((";2", 85), (";4", 17)) if image.mode == "L" and raw in str(image.info.get(_RAW, ""))), 1)


def _are_values(values_HW: NDArray[Any], classes: Sequence[SegmentationClass]) -> bool:
    return set(np.unique(values_HW).tolist()) <= {IGNORE_INDEX, *(one.value for one in classes)}


def size_of(path: Path) -> int:
    """How many pixels the file says it has; 0 where it says nothing. Decodes nothing."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FILE_FORMATS) as image:
            return image.width * image.height
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 0


def read_bitmap(png: bytes) -> NDArray[np.bool_]:
    """Which pixels of a PNG are not 0, H x W.

    Raises:
        ValueError: too large, truncated or no PNG.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(png), formats=("PNG",)) as image:
            if wrong := bounds.too_large(image.width, image.height):
                raise ValueError(wrong)
            return np.asarray(image.convert("L")) > 0
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"its mask is no PNG: {error}") from error


def palettes(paths: Sequence[Path]) -> list[Palette | str | None]:
    """Of each file what `palette_of` tells, or what is wrong with it. Runs in a worker."""
    found = list[Palette | str | None]()
    for path in paths:
        try:
            found.append(palette_of(path))
        except Exception as error:  # decoders of strangers' files raise what they like
            found.append(str(error))
    return found


def palette_of(path: Path) -> Palette | None:
    """The palette of a palette PNG and the values that it holds, or None when the file has no palette."""
    image = _open(path)
    return (_colors(image), _present(image)) if image.mode == "P" else None


def _colors(image: Image.Image) -> list[Color]:
    flat = image.getpalette() or []
    return [(flat[i], flat[i + 1], flat[i + 2]) for i in range(0, len(flat) - 2, 3)]


def _present(image: Image.Image) -> list[int]:
    return [int(value) for value in np.flatnonzero(np.bincount(np.asarray(image).reshape(-1)))]


def _is_by_color(image: Image.Image, classes: Sequence[SegmentationClass]) -> bool:
    """Whether a palette's colours mean classes, and others than the values: programs number the colours of a picture as they find them."""
    palette_colors, present = _colors(image), _present(image)
    if max(present) >= len(palette_colors):
        return False
    used, value_of = [palette_colors[value] for value in present], {one.color: one.value for one in classes}
    if len(value_of) < len(classes):
        return False  # a colour of two classes tells neither
    if len(used) == 1 and len(set(used[0])) == 1:
        return False  # one gray, or black, is the beginning of most palettes
    return set(used) <= value_of.keys() and [value_of[color] for color in used] != present


def write_mask(path: Path | IO[bytes], mask_HW: UInt8Array, classes: Sequence[SegmentationClass]) -> None:
    """A mask of class indices as a palette PNG: the pixel values are the indices, the palette the classes' colours."""
    image = Image.fromarray(mask_HW, mode="L")
    image.putpalette(bytes(palette(classes).reshape(-1).tolist()))
    image.save(path, format="PNG")


def palette(classes: Sequence[SegmentationClass]) -> UInt8Array:
    """Colours by mask value, 256 x 3; void is black."""
    colors = np.zeros((256, 3), np.uint8)
    for index, one in enumerate(trained(classes)):
        colors[index] = one.color
    return colors


def colored(labelling: UInt8Array, classes: Sequence[SegmentationClass]) -> UInt8Array:
    """A labelling, H x W or C x H x W (see labels.py), in the classes' colours, H x W x 3: mixed where several are, black where none."""
    colors = palette(classes)
    if labelling.ndim == 2:
        return colors[labelling]
    present_CHW = labelling == 1
    total_HWC = np.einsum("chw,ck->hwk", present_CHW, colors[: len(labelling)].astype(np.int64))
    mixed: UInt8Array = (total_HWC // np.maximum(present_CHW.sum(axis=0), 1)[..., None]).astype(np.uint8)
    return mixed


def overlay(
    image_HWC: UInt8Array, labelling: UInt8Array, classes: Sequence[SegmentationClass], *, opacity: float = 0.55
) -> UInt8Array:
    """The image with a labelling laid over it in the classes' colours; where there is nothing, or void, the image shows."""
    mixed = np.asarray(cv2.addWeighted(image_HWC, 1 - opacity, colored(labelling, classes), opacity, 0), np.uint8)
    shown = labelling != IGNORE_INDEX if labelling.ndim == 2 else (labelling == 1).any(axis=0)
    mixed[~shown] = image_HWC[~shown]
    return mixed


def _open_exact(path: Path, what: str) -> Image.Image:
    """A picture whose pixels are what was written, each of them.

    Raises:
        DatasetError: of a kind that blurs, or of several pages.
    """
    image = _open(path)
    if image.format in ("JPEG", "MPO") or image.info.get("compression") in ("jpeg", "tiff_jpeg", "webp"):
        raise DatasetError(f"{path}: {what} is a JPEG, which blurs labels; export it as PNG")
    if image.format == "WEBP" and "VP8L" not in _chunks(path):
        raise DatasetError(f"{path}: {what} is a WebP that blurs labels; export it as PNG, or as lossless WebP")
    pages = getattr(image, "n_frames", 1)
    if pages > 1:
        image.close()  # Pillow keeps the file for the others
        raise DatasetError(f"{path}: {what} has {pages} pages; export one, as PNG")
    with suppress(
        SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error
    ):  # damage to that alone is none to the pixels
        ImageOps.exif_transpose(image, in_place=True)  # as its image is
    return image


def _chunks(path: Path) -> list[str]:
    """The names of a WebP's parts: `VP8L` holds pixels as they were, `VP8 ` holds blurred ones."""
    content, found, at = path.read_bytes(), list[str](), 12
    while at + 8 <= len(content):
        found.append(content[at : at + 4].decode("latin-1"))
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return found


def _open(path: Path) -> Image.Image:
    if not path.is_file():
        raise DatasetError(f"{path}: file is missing")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return _decode(path)
    except PermissionError as error:
        raise DatasetError(f"{path}: may not be read by this user; change its owner or its mode") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # Pillow asks before we can
        [size, *_] = re.findall(r"\d+", str(error))
        raise DatasetError(f"{path}: {bounds.refusal(size)}") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Warning) as error:
        if isinstance(error, DatasetError):
            raise
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk, not the picture
        raise DatasetError(f"{path}: cannot be read as {', '.join(FILE_FORMATS)} ({error}); export it again") from error


def _decode(path: Path) -> Image.Image:
    image = Image.open(path, formats=FILE_FORMATS)
    try:
        if wrong := bounds.too_large(image.width, image.height):
            raise DatasetError(f"{path}: {wrong}")
        image.info[_RAW] = str([tile[3] for tile in image.tile])
        image.filename = (
            ""  # of a file that has a name Pillow maps gray into memory, and turns the rows of a TIFF that lies into noise
        )
        image.load()
        if image.format == "PNG":
            # Pillow decodes a PNG that lacks its last bytes; only the chunks' checksums tell that a copy was cut short
            with Image.open(path, formats=("PNG",)) as whole:
                whole.verify()
            if _PNG_END not in path.read_bytes():
                raise DatasetError(f"{path}: ends before its last chunk does; export it again")
    except BaseException:
        image.close()
        raise
    return image


def _index_values(values_HW: np.ndarray, classes: Sequence[SegmentationClass], path: Path) -> UInt8Array:
    low, high = int(values_HW.min(initial=0)), int(values_HW.max(initial=0))
    if low < 0 or high > 65535:
        raise DatasetError(f"{path}: mask holds values from {low} to {high}; expected ids of classes, from 0 to 65535")
    if _is_interpolated(values_HW):
        raise DatasetError(
            f"{path}: along its borders the mask holds ids between those on either side, as resizing by interpolation makes them; "
            f"resize it from the original by nearest neighbour"
        )
    lookup = np.full(max(high, 255) + 1, -1, np.int16)
    lookup[IGNORE_INDEX] = IGNORE_INDEX
    for one in classes:
        if one.value < len(lookup):
            lookup[one.value] = IGNORE_INDEX
    for index, one in enumerate(trained(classes)):
        if one.value < len(lookup):
            lookup[one.value] = index
    present = np.flatnonzero(np.bincount(values_HW.reshape(-1)))
    unknown = [int(value) for value in present if lookup[value] < 0]
    if unknown:
        raise DatasetError(
            f"{path}: mask holds {_list(unknown)}, but the classes have {_list([c.value for c in classes])} (255 is void); "
            f"add the class to classes.json or mend the mask"
        )
    mask: UInt8Array = lookup.astype(np.uint8)[values_HW]
    return mask


def _is_interpolated(values_HW: np.ndarray) -> bool:
    """Whether borders run over the values in between, as those of a picture do that was scaled.

    One class may lie around another like a rim, and so between it and the ground: one pair of values. One may lie around all, as walls
    do around rooms: mostly one value is in between. Interpolation makes many of both.
    """
    borders, pairs, between = 0, set[tuple[int, int]](), np.zeros(0, np.int64)
    for across in (values_HW, values_HW.T):
        before, here, after = across[:, :-2], across[:, 1:-1], across[:, 2:]
        low, high = np.minimum(before, after), np.maximum(before, after)
        inside = (low < here) & (here < high)
        borders += int((low != high).sum())
        between = np.concatenate([between, here[inside]])
        pairs |= set(zip(low[inside].tolist(), high[inside].tolist(), strict=True))
    if borders < MANY_BORDERS or len(between) <= INTERPOLATED * borders or len(pairs) < MANY_PAIRS:
        return False
    return bool(np.bincount(between).max() < MOSTLY * len(between))


def _index_colors(image_HWC: UInt8Array, classes: Sequence[SegmentationClass], path: Path) -> UInt8Array:
    if image_HWC.shape[2] == 4 and (image_HWC[..., 3] != 255).any():
        raise DatasetError(f"{path}: mask is partly transparent; export it opaque")
    codes_HW = image_HWC[..., 0].astype(np.int32) << 16 | image_HWC[..., 1].astype(np.int32) << 8 | image_HWC[..., 2]
    index_of = {_code(one.color): IGNORE_INDEX for one in classes}
    index_of |= {_code(one.color): index for index, one in enumerate(trained(classes))}
    present, inverse = np.unique(codes_HW, return_inverse=True)
    unknown = [f"#{code:06x}" for code in present.tolist() if code not in index_of]
    if unknown and _are_gray_values(image_HWC, classes):
        return _index_values(image_HWC[..., 0], classes, path)
    if unknown:
        raise DatasetError(
            f"{path}: mask holds the colours {_list(unknown)}, which no class has; "
            f"name them in classes.json or export without anti-aliasing"
        )
    mask: UInt8Array = np.array([index_of[code] for code in present.tolist()], np.uint8)[inverse.reshape(codes_HW.shape)]
    return mask


def _are_gray_values(image_HWC: np.ndarray, classes: Sequence[SegmentationClass]) -> bool:
    """Whether the three channels of a picture all hold the classes' values, as some programs save one channel."""
    gray_HW = image_HWC[..., 0]
    same = all((image_HWC[..., channel] == gray_HW).all() for channel in (1, 2))
    return same and _are_values(gray_HW, classes)


def _code(color: tuple[int, int, int]) -> int:
    return color[0] << 16 | color[1] << 8 | color[2]


def _list(values: Sequence[object], shown: int = 8) -> str:
    text = ", ".join(str(value) for value in values[:shown])
    return text + (f", ... ({len(values)} in all)" if len(values) > shown else "")
