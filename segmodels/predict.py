"""A bundle and an image to a mask at the image's own size. What is scored goes through here, and so does what is served.

An image of about the size of the training images is seen whole, fitted into the network's size as they were. One that is much larger is
taken for more of the same at the same scale, and seen in overlapping tiles.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from segmodels import backends, tiling
from segmodels.backends import Backend
from segmodels.bundle import Bundle
from segmodels.errors import InputError
from segmodels.logits import confidence, decide, probabilities
from segmodels.resizing import enlarged, fit_image, fitted_size, resized
from segmodels.samples import Float32Array, ImageArray, UInt8Array, Windows

LARGER = 2.0
"""How much larger an image must be than any of training, in height or width, to be seen in tiles."""
TILES_AT_ONCE = {"cpu": 2, "cuda": 16}
BAND_VALUES = 2**24
"""So many scores are brought to the image's own size at once: 64 MB."""


class Predictor:
    """A bundle's network, ready to predict.

    Args:
        backend: what runs it; the default of the machine if None.
        tiles: `auto` is for images much larger than those of training.
        flips: average the scores of the image and of its mirror images, at four times the cost.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend | None = None,
        *,
        tiles: Literal["auto", "always", "never"] = "auto",
        flips: bool = False,
    ) -> None:
        self.bundle, self.backend = bundle, backend or backends.load(bundle)
        self.tiles, self.flips = tiles, flips

    def __call__(self, image: ImageArray) -> UInt8Array:
        """The labelling of an image of any size, H x W x channels, of the kind that the bundle was trained on.

        Returns:
            The class index of every pixel, H x W uint8; where classes overlap, 0 and 1 by class, C x H x W.

        Raises:
            InputError: it is an image of another kind.
        """
        return np.concatenate([labels for _, labels in self.bands(image)], axis=-2)

    def each(self, images: Sequence[ImageArray]) -> list[UInt8Array]:
        """The labellings of several images: those that the network sees in one size, it sees together.

        Raises:
            InputError: one is an image of another kind.
        """
        found: dict[int, UInt8Array] = {}
        together: dict[tuple[int, ...], list[int]] = {}
        for position, image in enumerate(images):
            self._check(image)
            if self.in_tiles(*image.shape[:2]):
                found[position] = self(image)
            else:
                size = fitted_size(image.shape[0], image.shape[1], self.bundle.facts.size_px)
                together.setdefault(size, []).append(position)
        for positions in together.values():
            fitted = [fit_image(images[position], self.bundle.facts.size_px) for position in positions]
            for position, logits_CHW in zip(positions, self._run(fitted), strict=True):
                bands = [self._decided(rows) for _, rows in _enlarged(logits_CHW, images[position].shape[:2])]
                found[position] = torch.cat(bands, dim=-2)[0].cpu().numpy()
        return [found[position] for position in range(len(images))]

    def bands(self, image: ImageArray | Windows) -> Iterator[tuple[int, UInt8Array]]:
        """The same band by band from the top, so that a large image need not be in memory: the first row, and the labelling's rows."""
        for top, logits in self.scores(image):
            yield top, self._decided(logits)[0].cpu().numpy()

    def with_confidence(self, image: ImageArray) -> tuple[UInt8Array, Float32Array]:
        """The labelling as above, and how probable each of its labels is, float32 of the same shape.

        Raises:
            InputError: it is an image of another kind.
        """
        labels, sure = [], []
        for _, logits in self.scores(image):
            labelling = self._decided(logits)
            labels.append(labelling[0].cpu().numpy())
            sure.append(confidence(logits[None], labelling, self.bundle.facts.task)[0].cpu().numpy())
        return np.concatenate(labels, axis=-2), np.concatenate(sure, axis=-2)

    def probabilities(self, image: ImageArray) -> Float32Array:
        """How probable each class is at every pixel, C x H x W float32; of exclusive classes they sum to 1.

        Raises:
            InputError: it is an image of another kind.
        """
        bands = [probabilities(logits[None], self.bundle.facts.task)[0].cpu().numpy() for _, logits in self.scores(image)]
        return np.concatenate(bands, axis=-2)

    def scores(self, image: ImageArray | Windows) -> Iterator[tuple[int, Tensor]]:
        """The logits of an image, band by band from its top: the first row and num_logits x rows x width."""
        self._check(image)
        height, width = image.shape[:2]
        if self.in_tiles(height, width):
            yield from self._tiled(image)
        else:
            fitted = fit_image(image[:, :], self.bundle.facts.size_px)
            yield from _enlarged(self._run([fitted])[0], (height, width))

    def warm_up(self) -> None:
        """Have the network run once: the first time takes longer."""
        self(np.zeros((*self.bundle.facts.size_px, self.bundle.kind.channels), self.bundle.kind.dtype))

    def _check(self, image: ImageArray | Windows) -> None:
        kind = self.bundle.kind
        if image.ndim != 3 or image.shape[2] != kind.channels or image.dtype != kind.dtype:
            raise InputError(
                f"image is {image.dtype} of shape {image.shape}; expected {kind.dtype} of shape height x width x {kind.channels} ({kind})"
            )
        if 0 in image.shape:
            raise InputError(f"image has no pixels: its shape is {image.shape}")

    def _decided(self, logits_CHW: Tensor) -> Tensor:
        return decide(logits_CHW[None], self.bundle.facts.task, self.bundle.facts.thresholds)

    def in_tiles(self, height: int, width: int) -> bool:
        """Whether an image of this size is seen in tiles."""
        if self.tiles == "auto":
            largest = self.bundle.facts.largest_px
            return height > LARGER * largest[0] or width > LARGER * largest[1]
        return self.tiles == "always"

    def _tiled(self, image: ImageArray | Windows) -> Iterator[tuple[int, Tensor]]:
        height, width = image.shape[:2]
        scale, size_px = self.bundle.facts.scale, self.bundle.facts.size_px
        tile = min(height, round(size_px[0] / scale)), min(width, round(size_px[1] / scale))
        seen = max(1, round(tile[0] * scale)), max(1, round(tile[1] * scale))

        def tiles_of(top: int, lefts: Sequence[int]) -> Tensor:
            tiles = [image[top : top + tile[0], left : left + tile[1]] for left in lefts]
            return self._run([resized(one, *seen) for one in tiles])

        at_once = TILES_AT_ONCE[self.backend.device.type]
        yield from tiling.blended((height, width), tile, tiles_of, at_once=at_once, band_values=BAND_VALUES)

    def _run(self, images: Sequence[ImageArray]) -> Tensor:
        """Images of one size, which is the network's, to logits, B x num_logits x H x W."""
        images_BCHW = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        logits_BCHW = self.backend(images_BCHW)
        if self.flips:
            for axes in ((-1,), (-2,), (-1, -2)):
                logits_BCHW = logits_BCHW + self.backend(images_BCHW.flip(axes)).flip(axes)
            logits_BCHW = logits_BCHW / 4
        return logits_BCHW


def _enlarged(logits_CHW: Tensor, size_px: tuple[int, int]) -> Iterator[tuple[int, Tensor]]:
    """Scores brought to a size, band by band. The scores are scaled, not the labels: borders stay smooth."""
    rows = max(1, BAND_VALUES // (logits_CHW.shape[0] * size_px[1]))
    for first in range(0, size_px[0], rows):
        yield first, enlarged(logits_CHW, size_px, slice(first, min(first + rows, size_px[0])))
