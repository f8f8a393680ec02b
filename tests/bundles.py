"""Bundles of networks as tests make them."""

from pathlib import Path
from typing import Any

from segmodels import bundle
from segmodels.network import Segmenter


def save(folder: Path, segmenter: Segmenter, **facts: Any) -> None:
    """Write one of which only what matters to a test is said; without an ONNX file, which takes long."""
    usual: dict[str, Any] = {
        "candidate": folder.name,
        "task": "multiclass",
        "scale": 1.0,
        "largest_px": facts["size_px"],
        "training": {},
        "dataset_sha256": "0" * 64,
        "git_commit": None,
        "export": "none",
    }
    bundle.save(folder, segmenter, **usual | facts)
