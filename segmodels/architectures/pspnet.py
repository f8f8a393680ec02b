"""PSPNet: the encoder's features pooled over 1, 2, 3 and 6 bins a side tell every pixel what the whole scene is (arXiv:1612.01105)."""

import segmentation_models_pytorch as smp
from torch import nn

from segmodels.architectures import _smp


def build(
    in_channels: int,
    num_classes: int,
    *,
    encoder: str,
    weights: str | None,
    stride: int = 8,
    channels: int = 512,
    dropout: float = 0.2,
) -> nn.Module:
    """The encoder is cut at `stride` (4, 8, 16 or 32); `channels` is the width of the pooling module."""
    depths = {4: 2, 8: 3, 16: 4, 32: 5}
    if stride not in depths:
        from segmodels.errors import ParamsError

        raise ParamsError(f"architectures.pspnet: stride is {stride}; expected one of {', '.join(map(str, depths))}")
    return _smp.build(
        smp.PSPNet,
        encoder=encoder,
        weights=weights,
        in_channels=in_channels,
        classes=num_classes,
        encoder_depth=depths[stride],
        psp_out_channels=channels,
        psp_dropout=dropout,
        upsampling=stride,
    )
