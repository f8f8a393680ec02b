"""A bundle and an image to a mask at the image's own size. What is scored goes through here, and so does what is served."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from segmodels import atomic, device
from segmodels.bundle import Bundle
from segmodels.errors import DatasetError, InputError
from segmodels.images import SUFFIXES, overlay, read_image, shown, write_mask
from segmodels.labels import decide
from segmodels.resizing import fit_image
from segmodels.samples import ImageArray, UInt8Array, trained


class Predictor:
    """A bundle's network on a device, ready to predict."""

    def __init__(self, bundle: Bundle, *, on: torch.device | None = None, precision: device.Precision | None = None) -> None:
        self.bundle = bundle
        self.device = on or device.default()
        self.precision: device.Precision = precision or device.precision("auto", self.device)
        self.segmenter = bundle.segmenter.to(self.device)

    @torch.inference_mode()
    def __call__(self, image: ImageArray) -> UInt8Array:
        """The labelling of an image of any size, H x W x channels, of the kind that the bundle was trained on.

        Returns:
            The class index of every pixel, H x W uint8; where classes overlap, 0 and 1 by class, C x H x W.
        """
        kind = self.bundle.kind
        if image.ndim != 3 or image.shape[2] != kind.channels or image.dtype != kind.dtype:
            raise InputError(
                f"image is {image.dtype} of shape {image.shape}; expected {kind.dtype} of shape height x width x {kind.channels} ({kind})"
            )
        height, width = image.shape[:2]
        fitted = torch.from_numpy(np.array(fit_image(image, self.bundle.facts.size_px)))
        images_BCHW = fitted.to(self.device).permute(2, 0, 1)[None]
        with device.autocast(self.device, self.precision):
            logits_BCHW = self.segmenter(images_BCHW)
        if logits_BCHW.shape[-2:] != (height, width):
            # the scores are scaled, not the labels: borders stay smooth
            logits_BCHW = F.interpolate(logits_BCHW.float(), size=(height, width), mode="bilinear", align_corners=False)
        labelling: UInt8Array = decide(logits_BCHW, self.bundle.facts.task)[0].cpu().numpy()
        return labelling


def predict_files(predictor: Predictor, inputs: Sequence[Path], destination: Path) -> Iterator[tuple[Path, str | None]]:
    """Write `<name>.png`, a palette mask, and `<name>_overlay.png` for every image; folders stand for the images in them.

    Where classes overlap there is a mask a class instead, `<name>/<class>.png`, with 255 where the class is and 0 where it is not.

    Yields each image's path and, where it could not be predicted, the reason: the others go on.

    Raises:
        InputError: no image at all, two inputs whose results would have the same name, or a class that cannot name a file.
    """
    classes = trained(predictor.bundle.classes)
    unsafe = [one.name for one in classes if Path(one.name).name != one.name]
    if predictor.bundle.facts.task == "multilabel" and unsafe:
        raise InputError(f"the class {unsafe[0]!r} cannot name a file, as masks a class do; rename it and train again")
    targets: dict[Path, Path] = {}
    for source, base in _images(inputs):
        target = destination / source.relative_to(base).with_suffix("")
        if target in targets.values():
            raise InputError(f"{source}: another image of the same name would be written to {target}.png too; rename one")
        targets[source] = target
    if not targets:
        raise InputError(f"no images in {', '.join(map(str, inputs))}; expected files ending in {', '.join(SUFFIXES)}")
    for source, target in targets.items():
        try:
            image = read_image(source, predictor.bundle.kind)
        except DatasetError as error:
            yield source, str(error)
            continue
        labelling = predictor(image)
        if labelling.ndim == 2:
            with atomic.file(target.with_name(f"{target.name}.png")) as partial:
                write_mask(partial, labelling, classes)
        else:
            for one, layer_HW in zip(classes, labelling, strict=True):
                with atomic.file(target / f"{one.name}.png") as partial:
                    Image.fromarray(layer_HW * 255).save(partial, format="PNG")
        with atomic.file(target.with_name(f"{target.name}_overlay.png")) as partial:
            Image.fromarray(overlay(shown(image), labelling, classes)).save(partial, format="PNG")
        yield source, None


def _images(inputs: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Every image file with the folder that its results' names are relative to."""
    for path in inputs:
        if path.is_dir():
            for child in sorted(path.rglob("*")):
                if child.suffix.lower() in SUFFIXES and child.is_file() and not child.name.startswith("."):
                    yield child, path
        else:
            yield path, path.parent
