"""From uint8 pixels to logits at the same size: the one network that is trained, scored and served."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segmodels import catalog, layers
from segmodels.errors import InputError

SAFETENSORS = ".safetensors"
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
        self.min_size_px: int = getattr(network, "min_size_px", SIZE_MULTIPLE)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)

    @property
    def encoder(self) -> nn.Module:
        encoder = self.network.encoder
        assert isinstance(encoder, nn.Module)
        return encoder

    def forward(self, images_BCHW: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Images of any size in the values they were taken in, uint8, uint16 or float, B x channels x H x W -> logits B x num_logits x H x W.

        In training mode a network with an auxiliary head gives a pair: its logits and those of the head, of the same shape.
        """
        height, width = images_BCHW.shape[-2:]
        normalised = (images_BCHW.float() - self.mean) / self.std
        below, right = (max(-side % SIZE_MULTIPLE, self.min_size_px - side) for side in (height, width))
        padded = F.pad(normalised, (0, right, 0, below))  # 0 is the mean colour
        logits: Tensor | tuple[Tensor, Tensor] = self.network(padded)
        if isinstance(logits, tuple):
            return logits[0][..., :height, :width], logits[1][..., :height, :width]
        return logits[..., :height, :width]


def build(
    *,
    architecture: str,
    encoder: str,
    weights: str | None,
    options: dict[str, Any],
    num_logits: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> Segmenter:
    """Build the network of a candidate, laid out channels-last, which convolutions on CPU (bf16) and GPU prefer.

    Args:
        weights: "imagenet", the path of a safetensors file, or None.
        mean: one value a channel of the images.

    Raises:
        InputError: the encoder does not fit, or its weights cannot be had.
    """
    if not re.fullmatch(r"[\w.+-]+", encoder):  # timm would fetch one from an address
        raise InputError(f"encoder: {encoder!r} is no name of an encoder; expected letters, digits and _ . + -")
    file = Path(weights) if weights is not None and weights.endswith(SAFETENSORS) else None
    network = catalog.build(
        "architectures",
        architecture,
        len(mean),
        num_logits,
        encoder=encoder,
        weights=None if file else weights,
        options=options,
    )
    layers.replace_in(network)
    if file:
        _load(network, file)
    return Segmenter(network, mean, std).to(memory_format=torch.channels_last)


def _load(network: nn.Module, path: Path) -> None:
    """Weights of the whole network, as a bundle has them, or of its encoder alone."""
    try:
        tensors = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"weights: {path} cannot be read ({error}); expected a safetensors file") from error
    for module in (network, network.encoder):
        assert isinstance(module, nn.Module)
        if set(tensors) == set(module.state_dict()):
            try:
                module.load_state_dict(tensors)
            except RuntimeError as error:
                raise InputError(
                    f"weights: {path} is of a network with other classes or options ({_in_short(error)}); to begin with its encoder, "
                    f"give a file with the tensors of that alone, without the `encoder.` before their names"
                ) from error
            return
    expected = sorted(network.encoder.state_dict())  # type: ignore[union-attr]
    raise InputError(
        f"weights: {path} has {len(tensors)} tensors such as {min(tensors, default=None)!r}, neither those of the network nor "
        f"the {len(expected)} of its encoder, such as {expected[0]!r}; give a bundle's model.safetensors of the same architecture"
    )


def _in_short(error: Exception) -> str:
    """One of the tensors that torch lists below a heading: the last."""
    return str(error).splitlines()[-1].strip()
