"""Continuous retraining for image segmentation."""

__version__ = "0.1.0"
