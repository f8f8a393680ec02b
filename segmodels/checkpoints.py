"""Checkpoints of a running training: found again by what it trains on, written whole or not at all, read without pickle."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from segmodels import atomic

LAST_STEM, BEST_STEM = "last", "best"
LAST, BEST = f"{LAST_STEM}.ckpt", f"{BEST_STEM}.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints through a temporary file and a rename; loading unpickles tensors and plain values only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with atomic.file(Path(path)) as partial:
            torch.save(checkpoint, partial)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read(Path(path))


def read(path: Path) -> dict[str, Any]:
    """One of our own checkpoints, on the CPU."""
    loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return loaded


def digest(inputs: dict[str, Any]) -> str:
    """Of everything that decides how a training ends: its inputs and the code of segmodels.

    Other inputs, other folder: a training never goes on from a checkpoint that meant something else.
    """
    package = Path(__file__).parent
    hashed = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode())
    for source in sorted(package.rglob("*.py")):
        hashed.update(source.relative_to(package).as_posix().encode() + b"\0" + source.read_bytes())
    return hashed.hexdigest()


def remove_others(folder: Path) -> None:
    """Remove the checkpoints of the same candidate's other inputs; called when a training has ended well."""
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
