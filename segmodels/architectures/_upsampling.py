"""Doubling features by nearest neighbour, joining the encoder's to them and convolving, trained as a transposed convolution.

Of a 3 x 3 convolution of doubled features every four taps see two values: as a transposed convolution of 4 x 4 taps it multiplies 4 / 9 as
often, and neither what is doubled nor what is joined is ever written. The result is the same but for rounding.
"""

import torch
import torch.nn.functional as F
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock
from torch import Tensor, nn


def replace_in(decoder: nn.Module) -> None:
    """Have smp's U-Net decoder train so. Weights and names stay as they are; a prediction runs, and is exported, as smp has it."""
    for block in decoder.modules():
        if type(block) is not UnetDecoderBlock or block.interpolation_mode != "nearest":
            continue
        if isinstance(block.get_submodule("attention1.attention"), nn.Identity):
            block.__class__ = _Transposed


class _Transposed(UnetDecoderBlock):  # type: ignore[misc]  # smp is untyped
    def forward(
        self, feature_map: Tensor, target_height: int, target_width: int, skip_connection: Tensor | None = None
    ) -> Tensor:
        height, width = feature_map.shape[-2:]
        if not self.training or (target_height, target_width) != (2 * height, 2 * width):
            unchanged: Tensor = super().forward(feature_map, target_height, target_width, skip_connection)
            return unchanged
        convolution, *after = self.conv1
        doubled, joined = convolution.weight.split([feature_map.shape[1], convolution.in_channels - feature_map.shape[1]], dim=1)
        found = F.conv_transpose2d(feature_map, transposed(doubled), convolution.bias, stride=2, padding=1)
        if skip_connection is not None and joined.shape[1]:  # some encoders have nothing at half the image's size
            found = found + F.conv2d(skip_connection, joined, padding=1)
        for layer in (*after, self.conv2, self.attention2):
            found = layer(found)
        return found


def transposed(weight_OC33: Tensor) -> Tensor:
    """The kernel, C x O x 4 x 4, of the transposed convolution with stride 2 and padding 1 that is this convolution of doubled features."""
    return _spread(_spread(weight_OC33, -1), -2).transpose(0, 1)


def _spread(weight: Tensor, dim: int) -> Tensor:
    # of an even place's three neighbours the last two are one value, of an odd one's the first two
    first, middle, last = weight.unbind(dim)
    return torch.stack([last, middle + last, first + middle, first], dim)
