"""Which device a training or a prediction runs on, and in which precision."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch

from segmodels import locks
from segmodels.errors import InputError

Precision = Literal["bf16", "fp32"]


def precision(asked: Literal["auto", "bf16", "fp32"], device: torch.device) -> Precision:
    """bf16 where the device computes it in hardware: elsewhere it is emulated, many times slower than fp32."""
    if asked == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    return asked


def has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # torch's own check also says yes to CPUs that only emulate it
    return device.type == "cpu" and _cpu_has("avx512_bf16", "amx_bf16")


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def default() -> torch.device:
    """The first GPU this process sees, else the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def slots() -> int:
    """How many trainings may run at once: one a GPU, one on a machine without."""
    return max(1, torch.cuda.device_count())


@contextlib.contextmanager
def claimed(folder: Path, *, poll_s: float = 2.0) -> Iterator[torch.device]:
    """A GPU for this process alone, or the CPU where there is none.

    The lock is held by the process that computes: a trainer that outlives its parent keeps its GPU taken, and a killed one lets go.
    Waits while all are taken.
    """
    count = torch.cuda.device_count()
    if count == 0:
        yield torch.device("cpu")
        return
    while True:
        for index in range(count):
            with locks.held_if_free(folder / f"gpu-{_visible(index)}.lock") as free:
                if free:
                    yield torch.device("cuda", index)
                    return
        time.sleep(poll_s)


def _visible(index: int) -> str:
    """The name of a GPU that other processes, which may see fewer, mean by it too."""
    listed = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    name = listed[index] if index < len(listed) else str(index)
    if not name.replace("-", "").isalnum():
        raise InputError(f"CUDA_VISIBLE_DEVICES holds {name!r}; expected indices or UUIDs of GPUs")
    return name


def _cpu_has(*flags: str) -> bool:
    try:
        known = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return any(flag in known for flag in flags)
