"""Cells and tissue: no up or down, soft bodies, uneven light, a focus that drifts. Colours keep their hue, which stains give a meaning."""

import albumentations as A
import cv2

from segmodels.samples import IGNORE_INDEX


def build(
    size_px: tuple[int, int],
    *,
    min_scale: float = 0.4,
    turn: float = 0.9,
    affine: float = 0.3,
    rotate_deg: float = 45.0,
    bend: float = 0.3,
    light: float = 0.5,
    blur: float = 0.2,
    noise: float = 0.3,
) -> list[A.BasicTransform]:
    """Crops cover `min_scale` to 1 of the image's area; the others are probabilities, and the largest turn in degrees."""
    border = {"border_mode": cv2.BORDER_CONSTANT, "fill_mask": IGNORE_INDEX, "mask_interpolation": cv2.INTER_NEAREST}
    return [
        A.RandomResizedCrop(size=size_px, scale=(min_scale, 1.0), ratio=(0.8, 1.25), mask_interpolation=cv2.INTER_NEAREST_EXACT),
        A.HorizontalFlip(p=turn / 2),
        A.VerticalFlip(p=turn / 2),
        A.Affine(rotate=(-rotate_deg, rotate_deg), p=affine, **border),
        # fields as smooth as tissue: rougher ones tear borders apart (Ronneberger et al., arXiv:1505.04597)
        A.OneOf([A.ElasticTransform(alpha=60, sigma=8, **border), A.GridDistortion(distort_limit=(-0.2, 0.2), **border)], p=bend),
        A.OneOf(
            [
                A.RandomBrightnessContrast(brightness_limit=(-0.25, 0.25), contrast_limit=(-0.25, 0.25)),
                A.RandomGamma(gamma_limit=(60, 160)),
                A.Illumination(intensity_range=(0.02, 0.1)),
            ],
            p=light,
        ),
        A.OneOf([A.GaussianBlur(sigma_limit=(0.5, 2.0)), A.Defocus(radius=(1, 3))], p=blur),
        A.OneOf([A.GaussNoise(std_range=(0.01, 0.08)), A.ShotNoise(scale_range=(0.01, 0.05))], p=noise),
    ]
