"""Versions of the registry on images that somebody wants to see them on: each predicts in a process of its own, as `segmodels predict` does."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Lock

import numpy as np
import tifffile

from segmodels import atomic, images
from segmodels.errors import InputError
from segmodels.project import WORK
from segmodels.records import Version
from segmodels.samples import ImageArray

TRIED = WORK / "tried"
"""Bundles of versions that were fetched for it, and overlays of what they predicted, by version and image."""
SECONDS = 300
KEPT, KEPT_OVERLAYS = 5, 500
"""Bundles, of which some are large, and overlays."""
_one_at_a_time = Lock()


def of_upload(version: Version, content: bytes) -> bytes:
    """The overlay, a PNG, of what a version predicts of an image file.

    Raises:
        InputError: it is no image, or one that the version was not trained for.
    """
    suffix = images.suffix_of(content)
    if not suffix:
        raise InputError(f"this does not begin as {', '.join(images.FILE_FORMATS)} do; take an image")
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / f"image{suffix}"  # what it was called becomes no path
        file.write_bytes(content)
        _predict(version, [file], Path(work) / "out")
        return (Path(work) / "out" / "image_overlay.png").read_bytes()


def of_test_images(version: Version, pictures: Mapping[int, ImageArray]) -> dict[int, bytes]:
    """The overlays of what a version predicts of test images, by their rows; predicted once, and kept.

    Raises:
        InputError: the version is for images of another kind, or is gone.
    """
    kept = {row: TRIED / f"{_name(version)}-{_digest(picture)}.png" for row, picture in pictures.items()}
    missing = [row for row, path in kept.items() if not path.is_file()]
    if missing:
        with tempfile.TemporaryDirectory() as work:
            files = {row: Path(work) / f"{row}.tif" for row in missing}
            for row, file in files.items():
                tifffile.imwrite(file, np.squeeze(pictures[row]))
            _predict(version, list(files.values()), Path(work) / "out")
            for row in missing:
                with atomic.file(kept[row]) as partial:
                    partial.write_bytes((Path(work) / "out" / f"{row}_overlay.png").read_bytes())
    found = {row: path.read_bytes() for row, path in kept.items()}
    _forget_oldest(TRIED.glob("*.png"), KEPT_OVERLAYS)
    return found


def _digest(picture: ImageArray) -> str:
    return hashlib.sha256(f"{picture.shape} {picture.dtype}".encode() + picture.tobytes()).hexdigest()[:32]


def _predict(version: Version, files: list[Path], out: Path) -> None:
    with _one_at_a_time:
        bundle = TRIED / _name(version)
        if not bundle.is_dir():
            _run("fetch", str(version.version), "--out", str(bundle))
            _forget_oldest((one for one in TRIED.iterdir() if one.is_dir()), KEPT)
        _run("predict", *map(str, files), "--bundle", str(bundle), "--out", str(out))


def _name(version: Version) -> str:
    return version.bundle_sha256[:16]


def _forget_oldest(paths: Iterable[Path], kept: int) -> None:
    """Only the latest stay."""
    for one in sorted(paths, key=lambda path: -path.stat().st_mtime)[kept:]:
        shutil.rmtree(one, ignore_errors=True) if one.is_dir() else one.unlink(missing_ok=True)


def _run(*arguments: str) -> None:
    program = str(Path(sys.executable).with_name("segmodels"))
    try:
        done = subprocess.run(
            [program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"there was no answer after {SECONDS} s; take a smaller image") from error
    if done.returncode != 0:
        said = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.strip()]
        raise InputError(" ".join(said[-3:]) or f"its process ended with {done.returncode}")
