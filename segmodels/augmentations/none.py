"""Nothing but the network's size: scaled to fit, the rest void. To see what augmentation is worth, and for drawings that must stay as they are."""

import albumentations as A
import cv2

from segmodels.samples import IGNORE_INDEX


def build(size_px: tuple[int, int]) -> list[A.BasicTransform]:
    height, width = size_px
    return [
        A.LongestMaxSize(max_size_hw=size_px, interpolation=cv2.INTER_AREA, mask_interpolation=cv2.INTER_NEAREST_EXACT),
        A.PadIfNeeded(min_height=height, min_width=width, border_mode=cv2.BORDER_CONSTANT, fill_mask=IGNORE_INDEX),
    ]
