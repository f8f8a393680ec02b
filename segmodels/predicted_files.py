"""Image files and folders of them to files of their masks. Files are decoded by other processes, ahead of the network, a batch at a time."""

import errno
import glob
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segmodels import atomic, large_images, polygons, workers
from segmodels.decoding import decode
from segmodels.errors import DatasetError, InputError, legible
from segmodels.images import SUFFIXES, overlay, shown, write_mask
from segmodels.large_images import LargeImage
from segmodels.predict import Predictor
from segmodels.samples import ImageArray, ImageKind, SegmentationClass, UInt8Array, trained

POLYGONS = "polygons.json"
TOGETHER = {"cpu": 4, "cuda": 32}
"""Images that are predicted at once: on a CPU more gain nothing."""
_OF_THE_NAME = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ)
"""Faults of one file's name, and not of the disk."""
DECODE_S, AHEAD = 120.0, 2
"""How long a file may take to be decoded, and how many a process may be ahead of the network."""


@dataclass(frozen=True)
class Wanted:
    """What is written of an image besides its mask.

    Attributes:
        overlay: the mask over the image, `<name>_overlay.png`.
        probabilities: of each class, `<name>.npy`, C x H x W float16.
        polygons: one `polygons.json` of all images in COCO's form.
        large: images beyond 50 million pixels too, TIFF alone: piece by piece, to `<name>.tif`.
    """

    overlay: bool = True
    probabilities: bool = False
    polygons: bool = False
    large: bool = False


@dataclass
class _Coco:
    """What goes into `polygons.json`."""

    classes: list[SegmentationClass]
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, labelling: UInt8Array) -> None:
        height, width = labelling.shape[-2:]
        self.images.append({"id": len(self.images) + 1, "file_name": name, "height": height, "width": width})
        for one in polygons.annotations(labelling, len(self.classes), image_id=len(self.images)):
            self.annotations.append({"id": len(self.annotations) + 1, **one})

    def write(self, path: Path) -> None:
        told = {"images": self.images, "annotations": self.annotations, "categories": polygons.categories(self.classes)}
        atomic.write_json(path, told)


def find(inputs: Sequence[str], destination: Path, wanted: Wanted | None = None) -> dict[Path, Path]:
    """Every image of files, folders and patterns such as `scans/*.tif`, and the path of its results without suffix.

    Raises:
        InputError: the destination is no folder, nothing there, no image at all, two whose results would have the same name, or results that would be written over
            an image.
    """
    if destination.exists() and not destination.is_dir():
        raise InputError(f"{destination}: is no folder; choose another --out")
    targets: dict[Path, Path] = {}
    written: dict[Path, Path] = {}
    for one in inputs:
        for source, base in _images(one, destination):
            target = destination / source.relative_to(base).with_suffix("")
            for path in _results(target, wanted or Wanted()):
                if written.setdefault(path, source) != source:
                    raise InputError(f"{source}: {path} would be written for {written[path]} too; rename one of them")
            targets[source] = target
    if not targets:
        raise InputError(f"no images in {', '.join(inputs)}; expected files ending in {', '.join(SUFFIXES)}")
    sources = {source.resolve() for source in targets}
    for path, source in written.items():
        if path.resolve() in sources:
            raise InputError(
                f"{path}: is one of the images, and would be written over with what is made of {source}; choose another --out"
            )
    return targets


def _results(target: Path, wanted: Wanted) -> list[Path]:
    """All that may be written for an image."""
    endings = {".png": True, "_overlay.png": wanted.overlay, ".npy": wanted.probabilities, ".tif": wanted.large}
    return [*(target.with_name(target.name + ending) for ending, is_written in endings.items() if is_written), target]


def _images(one: str, destination: Path) -> Iterator[tuple[Path, Path]]:
    """Every image file with the folder that its results' names are relative to; what an earlier run has written is none."""
    path = Path(one)
    if path.is_dir():
        nested = destination.resolve() != path.resolve()
        for child in sorted(path.rglob("*")):
            if nested and child.resolve().is_relative_to(destination.resolve()):
                continue
            if child.suffix.lower() in SUFFIXES and child.is_file() and not child.name.startswith("."):
                yield child, path
    elif path.exists():
        yield path, path.parent
    else:
        found = sorted(map(Path, glob.glob(one, recursive=True)))  # noqa: PTH207 a text, which may begin anywhere
        if not found:
            raise InputError(f"{one}: there is no such file or folder, and no file fits it as a pattern")
        yield from ((path, path.parent) for path in found if path.is_file())


def predict_files(
    predictor: Predictor, targets: dict[Path, Path], destination: Path, wanted: Wanted | None = None
) -> Iterator[tuple[Path, str | None]]:
    """Write `<name>.png`, a palette mask, and what else is wanted of every image.

    Where classes overlap there is a mask a class instead, `<name>/<class>.png`, with 255 where the class is and 0 where it is not.

    Yields each image's path and, where it could not be predicted, the reason: the others go on.

    Args:
        targets: of `find`.

    Raises:
        InputError: a class that cannot name a file.
    """
    wanted = wanted or Wanted()
    classes = trained(predictor.bundle.classes)
    unsafe = [one.name for one in classes if Path(one.name).name != one.name]
    if predictor.bundle.facts.task == "multilabel" and unsafe:
        raise InputError(f"the class {unsafe[0]!r} cannot name a file, as masks a class do; rename it and train again")
    coco = _Coco(classes)
    illegible = [source for source in targets if legible(str(source)) != str(source)]
    large = large_images.large([source for source in targets if source not in illegible]) if wanted.large else []
    yield from ((source, f"{legible(str(source))}: its name is not in UTF-8; rename it") for source in illegible)
    whole = [source for source in targets if source not in {*large, *illegible}]
    for source, found in _predicted(predictor, whole):
        if isinstance(found, str):
            yield source, found
            continue
        try:
            _write(predictor, *found, targets[source], classes, wanted)
        except OSError as error:
            if error.errno not in _OF_THE_NAME:
                raise
            yield (
                source,
                f"{source}: its results cannot be written ({error.strerror}: {error.filename}); rename it, or choose another --out",
            )
            continue
        if wanted.polygons:
            coco.add(targets[source].relative_to(destination).with_name(source.name).as_posix(), found[1])
        yield source, None
    for source in large:
        try:
            _predict_large(predictor, source, targets[source], classes, wanted)
        except DatasetError as error:
            yield source, str(error)
        else:
            yield source, None
    if wanted.polygons:
        coco.write(destination / POLYGONS)


def _predicted(predictor: Predictor, sources: Sequence[Path]) -> Iterator[tuple[Path, tuple[ImageArray, UInt8Array] | str]]:
    """Every image with its labelling, or why there is none."""
    decoded = _decoded(sources, predictor.bundle.kind)
    while some := list(islice(decoded, TOGETHER[predictor.backend.device.type])):
        labellings = iter(predictor.each([image for _, image in some if not isinstance(image, str)]))
        for source, image in some:
            yield source, image if isinstance(image, str) else (image, next(labellings))


def _decoded(sources: Sequence[Path], kind: ImageKind) -> Iterator[tuple[Path, ImageArray | str]]:
    """Every file's image, or why it cannot be read; some are decoded ahead, into files of arrays."""
    with tempfile.TemporaryDirectory(prefix="segmodels-") as folder:
        tasks = [(source, kind, Path(folder) / f"{number}.npy") for number, source in enumerate(sources)]
        for (source, _, into), told in zip(
            tasks, workers.each(decode, tasks, seconds=lambda _: DECODE_S, ahead=AHEAD), strict=True
        ):
            if isinstance(told, workers.Ended):
                yield source, f"{source}: {told.how}; it is damaged, or made to do harm"
            elif told is not None:
                yield source, told
            else:
                yield source, np.load(into)
            into.unlink(missing_ok=True)


def _write(
    predictor: Predictor,
    image: ImageArray,
    labelling: UInt8Array,
    target: Path,
    classes: list[SegmentationClass],
    wanted: Wanted,
) -> None:
    if labelling.ndim == 2:
        with atomic.file(target.with_name(f"{target.name}.png")) as partial:
            write_mask(partial, labelling, classes)
    else:
        for one, layer_HW in zip(classes, labelling, strict=True):
            with atomic.file(target / f"{one.name}.png") as partial:
                Image.fromarray(layer_HW * 255).save(partial, format="PNG")
    if wanted.overlay:
        _write_overlay(target, image, labelling, classes)
    if wanted.probabilities:
        with atomic.file(target.with_name(f"{target.name}.npy")) as partial, partial.open("wb") as file:
            np.save(file, predictor.probabilities(image).astype(np.float16), allow_pickle=False)


def _predict_large(predictor: Predictor, source: Path, target: Path, classes: list[SegmentationClass], wanted: Wanted) -> None:
    """Image and mask by windows; the overlay is of the whole made small."""
    if wanted.probabilities or wanted.polygons:
        raise DatasetError(
            f"{source}: of images that are read piece by piece there are masks alone; cut it into tiles for the rest"
        )
    if predictor.bundle.facts.task == "multilabel":
        raise DatasetError(f"{source}: images are read piece by piece only where classes exclude each other; cut it into tiles")
    with LargeImage.opened(source, predictor.bundle.kind) as image:
        with atomic.file(target.with_name(f"{target.name}.tif")) as partial:
            image.write_mask(partial, predictor.bands(image), classes)
        if wanted.overlay:
            mask = image.preview_of_mask(target.with_name(f"{target.name}.tif"))
            _write_overlay(target, image.preview(), mask, classes)


def _write_overlay(target: Path, image: ImageArray, labelling: UInt8Array, classes: list[SegmentationClass]) -> None:
    with atomic.file(target.with_name(f"{target.name}_overlay.png")) as partial:
        Image.fromarray(overlay(shown(image), labelling, classes)).save(partial, format="PNG")
