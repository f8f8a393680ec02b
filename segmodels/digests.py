"""SHA-256, in hexadecimal."""

import hashlib
from pathlib import Path


def of_texts(*parts: str) -> str:
    """Of texts one after the other, none of which holds a NUL."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def of_file(path: Path) -> str:
    """Of what a file holds; read bit by bit.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_weights(weights: str | None) -> dict[str, str | None] | None:
    """What a training began from: "imagenet" or a file, with its hash; None for nothing."""
    if weights is None:
        return None
    return {"name": weights, "sha256": of_file(Path(weights)) if Path(weights).is_file() else None}
