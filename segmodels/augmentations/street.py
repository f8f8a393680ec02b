"""Scenes from a car or a walker: upright, at any distance, in sun, shade, dusk and rain on a moving camera."""

import albumentations as A
import cv2

from segmodels.samples import IGNORE_INDEX


def build(
    size_px: tuple[int, int],
    *,
    min_scale: float = 0.25,
    flip: float = 0.5,
    affine: float = 0.3,
    rotate_deg: float = 4.0,
    color: float = 0.5,
    light: float = 0.4,
    shadow: float = 0.15,
    blur: float = 0.15,
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
            shear=(-3, 3),
            mask_interpolation=cv2.INTER_NEAREST,  # interpolating labels invents classes
            border_mode=cv2.BORDER_CONSTANT,
            fill_mask=IGNORE_INDEX,
            p=affine,
        ),
        A.ColorJitter(brightness=(0.6, 1.4), contrast=(0.7, 1.3), saturation=(0.6, 1.4), hue=(-0.03, 0.03), p=color),
        A.OneOf(
            [
                A.RandomGamma(gamma_limit=(60, 160)),
                A.PlanckianJitter(temperature_limit=(4500, 9000)),
                A.RandomToneCurve(scale=0.2),
            ],
            p=light,
        ),
        A.RandomShadow(shadow_roi=(0, 0, 1, 1), p=shadow),
        A.OneOf([A.MotionBlur(blur_limit=(3, 7)), A.GaussianBlur(sigma_limit=(0.5, 1.5))], p=blur),
        A.OneOf([A.GaussNoise(std_range=(0.01, 0.06)), A.ISONoise()], p=noise),
        # the mask stays: what is hidden must be told from what surrounds it (Random Erasing, arXiv:1708.04896)
        A.CoarseDropout(num_holes_range=(1, 4), hole_height_range=(0.05, 0.15), hole_width_range=(0.05, 0.15), p=erase),
    ]
