"""Checkpoints of a running training: found again by what it trains on, written whole or not at all, read without pickle."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from segmodels import atomic, locks

LAST = "last.ckpt"
"""Everything that going on after the last whole part of an epoch needs."""


MICRO_BATCH = "micro_batch"
"""How many images at once fit into the memory, where more did not."""
LOCK = "lock"
"""Held by who trains here."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints through a temporary file and a rename; loading unpickles tensors and plain values only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write(Path(path), checkpoint)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read(Path(path))


def best(folder: Path, epoch: int) -> Path:
    """Where the weights of the best epoch are. By its number: until the checkpoint that tells of a better one is whole, they stay."""
    return folder / f"best-{epoch}.ckpt"


def remove_other_bests(folder: Path, epoch: int) -> None:
    for other in folder.glob("best-*.ckpt"):
        if other != best(folder, epoch):
            other.unlink()


def write(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values, whole or not at all.

    Raises:
        OSError: the disk is full.
    """
    with atomic.file(path) as partial, partial.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch says "unexpected pos" instead
                raise error.__context__ from None
            raise


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
    """Remove the checkpoints of the same candidate's other inputs, but of those that train just now; called when a training has ended well."""
    for other in folder.parent.iterdir():
        if other.is_dir() and other != folder:
            with locks.held_if_free(other / LOCK) as free:
                if free:
                    shutil.rmtree(other, ignore_errors=True)
