"""The labellings that a candidate predicted of the test images, in one file: who looks at them later predicts nothing again."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from segmodels.errors import DatasetError
from segmodels.samples import UInt8Array

NAME = "labellings.zip"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same content gives the same bytes, which DVC compares


class Writer:
    """Adds labellings to a file; see `writing`."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive

    def add(self, row: int, labelling: UInt8Array) -> None:
        """One of an image by its row in the manifest: H x W or, where classes overlap, C x H x W."""
        encoded, png = cv2.imencode(".png", labelling.reshape(-1, labelling.shape[-1]))
        assert encoded
        self.archive.writestr(zipfile.ZipInfo(f"{row}.png", _EPOCH), png.tobytes())


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    with zipfile.ZipFile(path, "w") as archive:  # stored: PNG is compressed already
        yield Writer(archive)


def read(path: Path, row: int, *, layers: int | None) -> UInt8Array:
    """The labelling of an image by its row in the manifest, as it was added.

    Args:
        layers: how many classes overlap; None where they exclude each other.

    Raises:
        DatasetError: there is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            png = archive.read(f"{row}.png")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path}: has no labelling of image {row} ({error}); run `make retrain`") from error
    stacked = np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)
    return stacked if layers is None else stacked.reshape(layers, -1, stacked.shape[1])
