"""Fits an image of any size into the size a network works at, without distorting it, and brings its scores back to the image's."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segmodels.samples import IGNORE_INDEX, ImageArray, UInt8Array


def fitted_size(height: int, width: int, size_px: tuple[int, int]) -> tuple[int, int]:
    """The largest (height, width) of the image's own proportions that fits into `size_px`."""
    scale = min(size_px[0] / height, size_px[1] / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def fit_image(image_HWC: ImageArray, size_px: tuple[int, int]) -> ImageArray:
    """The image scaled to `fitted_size`."""
    return resized(image_HWC, *fitted_size(image_HWC.shape[0], image_HWC.shape[1], size_px))


def resized(image_HWC: ImageArray, height: int, width: int) -> ImageArray:
    """The image of another size: averaged when it shrinks (no moire), interpolated when it grows."""
    if (height, width) == image_HWC.shape[:2]:
        return image_HWC
    interpolation = cv2.INTER_AREA if height < image_HWC.shape[0] else cv2.INTER_LINEAR
    # OpenCV averages no more than four channels at once, and drops a single one
    some = [image_HWC[..., start : start + 4] for start in range(0, image_HWC.shape[2], 4)]
    parts = [cv2.resize(np.ascontiguousarray(one), (width, height), interpolation=interpolation) for one in some]
    joined: ImageArray = np.concatenate([one.reshape(height, width, -1) for one in parts], axis=2).astype(
        image_HWC.dtype, copy=False
    )
    return joined


def enlarged(scores_CHW: Tensor, size_px: tuple[int, int], rows: slice) -> Tensor:
    """Some rows of scores, or logits, that are brought to a size, float32: bilinear, as `F.interpolate` has all of them at once."""
    height, width = size_px
    if scores_CHW.shape[-2:] == size_px:
        return scores_CHW[:, rows].float()
    if (rows.start, rows.stop) == (0, height):
        return F.interpolate(scores_CHW[None].float(), size=size_px, mode="bilinear", align_corners=False)[0]
    # bilinear is linear down and linear across: the rows that are wanted are mixed first, then made wide
    own = scores_CHW.shape[1]
    source = ((torch.arange(rows.start, rows.stop) + 0.5) * (own / height) - 0.5).clamp(0, own - 1)
    above, share = source.floor().long(), (source - source.floor()).to(scores_CHW.device)
    below = (above + 1).clamp(max=own - 1)
    mixed = torch.lerp(scores_CHW[:, above].float(), scores_CHW[:, below].float(), share[:, None])
    return F.interpolate(mixed[None], size=(len(above), width), mode="bilinear", align_corners=False)[0]


def fit_and_pad(image_HWC: ImageArray, mask_HW: UInt8Array, size_px: tuple[int, int]) -> tuple[ImageArray, UInt8Array]:
    """Image and mask of exactly `size_px`, fitted; at the right and below the image goes on as it ends, and the mask with void."""
    image = fit_image(image_HWC, size_px)
    height, width = image.shape[:2]
    mask = cv2.resize(mask_HW, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    padding = (0, size_px[0] - height), (0, size_px[1] - width)
    return np.pad(image, (*padding, (0, 0)), mode="edge"), np.pad(mask, padding, constant_values=IGNORE_INDEX)
