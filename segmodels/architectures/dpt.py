"""DPT: tokens of a vision transformer put back into images at four scales, and fused (arXiv:2103.13413)."""

import re
from collections.abc import Sequence
from typing import Literal

import segmentation_models_pytorch as smp
from torch import nn

from segmodels.architectures import _smp
from segmodels.errors import InputError

PATCH_PX = 16
"""Side of what a token stands for, as the decoder puts tokens back into images."""


def build(
    in_channels: int,
    num_classes: int,
    *,
    encoder: str = "vit_tiny_patch16_224",
    weights: str | None = None,
    channels: int = 256,
    intermediate_channels: Sequence[int] = (256, 512, 1024, 1024),
    readout: Literal["ignore", "add", "cat"] = "cat",
) -> nn.Module:
    """The encoder is a ViT of timm with patches of 16 pixels; it takes any size, by interpolating its position embedding.

    Args:
        channels: the width of the fusion.
        intermediate_channels: of the tokens put back into images, from the finest scale.
        readout: what becomes of the class token.
    """
    patch = re.search(r"patch(\d+)", encoder)  # as timm names all of them
    if patch is not None and int(patch[1]) != PATCH_PX:
        raise InputError(
            f"encoder: {encoder!r} has patches of {patch[1]} pixels; DPT puts together those of {PATCH_PX}, choose such a one"
        )
    network = _smp.network(
        smp.DPT,
        encoder=encoder,
        weights=weights,
        in_channels=in_channels,
        num_classes=num_classes,
        depth=len(intermediate_channels),
        decoder_fusion_channels=channels,
        decoder_intermediate_channels=tuple(intermediate_channels),
        decoder_readout=readout,
        dynamic_img_size=True,
    )
    return network
