"""Random crop and zoom, mirror, small affine moves, colour, noise and erased patches: safe for most photographs."""

import albumentations as A
import cv2

from segmodels.samples import IGNORE_INDEX


def build(
    size_px: tuple[int, int],
    *,
    min_scale: float = 0.5,
    flip: float = 0.5,
    affine: float = 0.3,
    rotate_deg: float = 10.0,
    color: float = 0.5,
    noise: float = 0.2,
    erase: float = 0.2,
) -> list[A.BasicTransform]:
    """Crops cover `min_scale` to 1 of the image's area; the others are probabilities, and the largest turn in degrees."""
    return [
        A.RandomResizedCrop(
            size=size_px, scale=(min_scale, 1.0), ratio=(0.75, 4 / 3), mask_interpolation=cv2.INTER_NEAREST_EXACT
        ),
        A.HorizontalFlip(p=flip),
        A.Affine(
            rotate=(-rotate_deg, rotate_deg),
            shear=(-5, 5),
            translate_percent=(-0.05, 0.05),
            mask_interpolation=cv2.INTER_NEAREST,  # interpolating labels invents classes
            border_mode=cv2.BORDER_CONSTANT,
            fill_mask=IGNORE_INDEX,
            p=affine,
        ),
        A.ColorJitter(brightness=(0.7, 1.3), contrast=(0.7, 1.3), saturation=(0.7, 1.3), hue=(-0.03, 0.03), p=color),
        A.GaussNoise(std_range=(0.01, 0.06), p=noise),
        # the mask stays: what is hidden must be told from what surrounds it (Random Erasing, arXiv:1708.04896)
        A.CoarseDropout(num_holes_range=(1, 4), hole_height_range=(0.05, 0.15), hole_width_range=(0.05, 0.15), p=erase),
    ]
