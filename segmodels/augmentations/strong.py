"""Everything, and much of it: for little data, long trainings and large networks. Small structures may suffer; look at the preview."""

import albumentations as A
import cv2

from segmodels.samples import IGNORE_INDEX


def build(
    size_px: tuple[int, int],
    *,
    min_scale: float = 0.2,
    flip: float = 0.5,
    affine: float = 0.6,
    rotate_deg: float = 25.0,
    bend: float = 0.25,
    color: float = 0.8,
    gray: float = 0.1,
    blur: float = 0.25,
    noise: float = 0.3,
    compression: float = 0.2,
    erase: float = 0.4,
) -> list[A.BasicTransform]:
    """Crops cover `min_scale` to 1 of the image's area; the others are probabilities, and the largest turn in degrees."""
    border = {"border_mode": cv2.BORDER_CONSTANT, "fill_mask": IGNORE_INDEX, "mask_interpolation": cv2.INTER_NEAREST}
    return [
        A.RandomResizedCrop(size=size_px, scale=(min_scale, 1.0), ratio=(0.6, 5 / 3), mask_interpolation=cv2.INTER_NEAREST_EXACT),
        A.HorizontalFlip(p=flip),
        A.Affine(
            rotate=(-rotate_deg, rotate_deg),
            shear=(-12, 12),
            translate_percent=(-0.1, 0.1),
            scale=(0.8, 1.25),
            p=affine,
            **border,
        ),
        A.OneOf([A.ElasticTransform(alpha=50, sigma=8, **border), A.GridDistortion(distort_limit=(-0.2, 0.2), **border)], p=bend),
        A.ColorJitter(brightness=(0.5, 1.5), contrast=(0.5, 1.5), saturation=(0.3, 1.7), hue=(-0.08, 0.08), p=color),
        A.ToGray(p=gray),
        A.OneOf([A.GaussianBlur(sigma_limit=(0.5, 2.0)), A.MotionBlur(blur_limit=(3, 7))], p=blur),
        A.OneOf([A.GaussNoise(std_range=(0.02, 0.1)), A.ISONoise()], p=noise),
        A.ImageCompression(quality_range=(40, 90), p=compression),
        # the mask stays: what is hidden must be told from what surrounds it (Random Erasing, arXiv:1708.04896)
        A.CoarseDropout(num_holes_range=(1, 6), hole_height_range=(0.05, 0.2), hole_width_range=(0.05, 0.2), p=erase),
    ]
