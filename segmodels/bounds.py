"""How large a picture may claim to be: a few KB can claim any size (decompression bomb). One bound for a process and its workers."""

from PIL import Image

_max_pixels = 50_000_000


def max_pixels() -> int:
    return _max_pixels


def set_max_pixels(at_most: int) -> None:
    """Also where a program decodes nothing itself: workers are told by it."""
    global _max_pixels
    _max_pixels = at_most
    Image.MAX_IMAGE_PIXELS = max(at_most, Image.MAX_IMAGE_PIXELS or 0)  # Pillow has one of its own, asked before ours


def too_large(width: int, height: int) -> str | None:
    """What is wrong with a picture that claims to be so large, if anything is."""
    if width * height <= _max_pixels:
        return None
    return refusal(f"{width} x {height}")


def refusal(size: str) -> str:
    """Why a picture of so many pixels is not read, and what to do."""
    return f"{size} pixels, more than {_max_pixels:,}; cut it into tiles, or raise dataset.max_megapixels in params.yaml"
