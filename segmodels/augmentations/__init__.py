"""Augmentation recipes, one a file.

Each file has `build(size_px, *, **options) -> list of albumentations transforms`: draws of H x W = `size_px` from images of any size.
Geometry pads masks with IGNORE_INDEX: nobody knows what lies outside an image.
"""
