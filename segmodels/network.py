"""From uint8 pixels to logits at the same size: the one network that is trained, scored and served."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segmodels import catalog

SIZE_MULTIPLE = 32
"""Encoders halve the size five times."""


class Segmenter(nn.Module):
    """Normalises, pads to what the network needs, runs it and cuts the padding off again.

    Normalisation is part of the module so that it runs on the device, on a quarter of the bytes, and can never be left out.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """uint8 (or 0 to 255 float) images of any size, B x 3 x H x W -> logits B x num_classes x H x W."""
        height, width = images_BCHW.shape[-2:]
        normalised = (images_BCHW.float() - self.mean) / self.std
        below, right = -height % SIZE_MULTIPLE, -width % SIZE_MULTIPLE
        padded = F.pad(normalised, (0, right, 0, below))  # 0 is the mean colour
        logits: Tensor = self.network(padded)
        return logits[..., :height, :width]


def build(
    *,
    architecture: str,
    encoder: str,
    weights: str | None,
    options: dict[str, Any],
    num_classes: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> Segmenter:
    """Build the network of a candidate, laid out channels-last, which convolutions on CPU (bf16) and GPU prefer."""
    network = catalog.build("architectures", architecture, 3, num_classes, encoder=encoder, weights=weights, options=options)
    return Segmenter(network, mean, std).to(memory_format=torch.channels_last)
