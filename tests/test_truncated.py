"""Images that were cut short are refused, wherever they were cut: a decoder that fills the rest invents pixels."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segmodels import shapes
from segmodels.errors import DatasetError
from segmodels.images import read_codes, read_image, read_layer, read_mask

CUTS = 100


def cut_lengths(content: bytes) -> list[int]:
    """A hundred lengths that are too short, the last twenty among them."""
    lengths = {int(length) for length in np.linspace(0, len(content) - 1, CUTS - 20)}
    return sorted(lengths | set(range(len(content) - 20, len(content))))


def encoded(image: Image.Image, name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("WEBP", {}),
        ("BMP", {}),
    ],
)
def test_an_image_that_was_cut_short_is_refused(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    content = encoded(Image.fromarray(shapes.draw(size_px=(40, 60), seed=3).image), name, **options)
    path = tmp_path / "image"
    path.write_bytes(content)
    assert read_image(path).shape == (40, 60, 3)
    accepted = []
    for length in cut_lengths(content):
        path.write_bytes(content[:length])
        try:
            read_image(path)
            accepted.append(length - len(content))
        except DatasetError:
            pass
    assert accepted == []


@pytest.mark.parametrize("read", [lambda path: read_mask(path, shapes.CLASSES), read_layer, read_codes])
def test_a_mask_that_was_cut_short_is_refused(read: Any, tmp_path: Path) -> None:
    content = encoded(Image.fromarray(shapes.draw(size_px=(40, 60), seed=3).mask % 2), "PNG")
    path = tmp_path / "mask.png"
    path.write_bytes(content)
    assert read(path).shape == (40, 60)
    for length in cut_lengths(content):
        path.write_bytes(content[:length])
        with pytest.raises(DatasetError):
            read(path)
