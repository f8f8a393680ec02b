"""Which device a training or a prediction runs on, and in which precision."""

import contextlib
import errno
import gc
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import cv2
import psutil
import torch

from segmodels import locks
from segmodels.errors import InputError

Precision = Literal["bf16", "fp32"]


def precision(asked: Literal["auto", "bf16", "fp32"], device: torch.device) -> Precision:
    """bf16 where it is the faster one."""
    if asked == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    return asked


def has_bf16(device: torch.device) -> bool:
    """Whether it multiplies matrices of bf16 in hardware, faster than others."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # a U-Net's step in bf16 took 1.3 times that in fp32 on an Intel Xeon that has avx512_bf16 but no AMX, and 0.4 times on an AMD EPYC
    # that has it; torch's own check says yes even to CPUs that emulate it
    told = set(_cpu_info().split())
    return device.type == "cpu" and ("amx_bf16" in told or {"AuthenticAMD", "avx512_bf16"} <= told)


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def default() -> torch.device:
    """The first GPU this process sees, else the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def name(device: torch.device) -> str:
    """The product that it is."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    found = re.search(r"^model name\s*:\s*(.+)$", _cpu_info(), re.MULTILINE)
    return found[1] if found else "CPU"


def describe(device: torch.device) -> str:
    """Its name, for people, and how many threads it has for us."""
    return name(device) if device.type == "cuda" else f"{name(device)}, {torch.get_num_threads()} threads"


MEMORY_ERRORS = (RuntimeError, MemoryError, OSError, cv2.error)
"""What may mean that there was no more memory, of torch and its libraries, of numpy, of the system and of OpenCV."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device or the machine had no more memory to give: torch tells the latter as a plain RuntimeError.

    oneDNN, which computes convolutions on the CPU, says no more than that it could not create what it needed; the libraries of CUDA
    have words of their own.
    """
    told = (
        "can't allocate memory",
        "could not create a primitive",
        "could not create a memory object",
        "CUDA error: out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_ALLOC_FAILED",
        "Insufficient memory",
    )
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(words in str(error) for words in told)


def free_memory() -> None:
    """Give back what is held for tensors that are no more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def held_bytes(device: torch.device) -> int:
    """What this process holds of the device's memory."""
    return torch.cuda.memory_reserved(device) if device.type == "cuda" else int(psutil.Process().memory_info().rss)


def peak_bytes(device: torch.device) -> int:
    """The most it has held since `forget_peak`, or since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if sys.platform == "linux":
        # not getrusage's ru_maxrss: a program begins with that of the process that started it
        [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 2**10
    return held_bytes(device)


def forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # before the first use of any torch knows of no device
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with contextlib.suppress(OSError):  # a container may forbid it
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def slots() -> int:
    """How many trainings may run at once: one a GPU, one on a machine without."""
    return max(1, torch.cuda.device_count())


def share_of_cores(trainings: int) -> dict[str, str]:
    """The variables that let so many trainings at once share a CPU machine: threads that wait for those of another stand still."""
    if trainings == 1 or torch.cuda.is_available():
        return {}
    return {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // trainings))}


def rank() -> int:
    """Which of the processes that train one model together this is; 0 for the first, and for one alone."""
    started_by_first = os.environ.get(_FIRST) == str(os.getppid())
    # as Lightning tells the ones it starts; a program that was started by a process that once trained is not told
    return int(os.environ.get("LOCAL_RANK", "0")) if started_by_first else 0


@contextlib.contextmanager
def claimed(folder: Path, count: int = 1, *, poll_s: float = 2.0) -> Iterator[list[torch.device]]:
    """So many GPUs for this training alone, or as many times the CPU where there is none.

    The locks are held by the process that computes: a trainer that outlives its parent keeps its GPUs taken, and a killed one lets go.
    Waits while too few are free, holding none. A process of higher rank uses those that the first has claimed.

    Raises:
        InputError: the machine has fewer.
    """
    there = torch.cuda.device_count()
    if 0 < there < count:
        raise InputError(f"training.devices: is {count}, but this machine has {there} GPUs; lower it")
    if rank() > 0:
        yield _devices([int(index) for index in os.environ[_CLAIMED].split(",") if index], count)
        return
    os.environ.pop("LOCAL_RANK", None)  # of whoever started us: Lightning would wait for the others that it speaks of
    with _free_gpus(folder, there, count, poll_s) as chosen:
        os.environ |= {_FIRST: str(os.getpid()), _CLAIMED: ",".join(map(str, chosen))}
        try:
            yield _devices(chosen, count)
        finally:
            del os.environ[_FIRST], os.environ[_CLAIMED]


@contextlib.contextmanager
def _free_gpus(folder: Path, there: int, count: int, poll_s: float) -> Iterator[list[int]]:
    """The indices of so many of the GPUs that are there, locked; none on a machine without."""
    while True:
        with contextlib.ExitStack() as held:
            chosen: list[int] = []
            for index in range(there):
                lock = locks.held_if_free(folder / f"gpu-{_visible(index)}.lock")
                if len(chosen) < count and held.enter_context(lock):
                    chosen.append(index)
            if len(chosen) == count or there == 0:
                yield chosen
                return
        time.sleep(poll_s)


def _devices(gpus: Sequence[int], count: int) -> list[torch.device]:
    return [torch.device("cuda", index) for index in gpus] or [torch.device("cpu")] * count


_FIRST = "SEGMODELS_FIRST"
"""Tells the processes of higher rank that they are: the id of the first one, which started them."""
_CLAIMED = "SEGMODELS_GPUS"
"""Tells the processes of higher rank which GPUs the first one has claimed."""


def _visible(index: int) -> str:
    """The name of a GPU that other processes, which may see fewer, mean by it too."""
    listed = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    name = listed[index] if index < len(listed) else str(index)
    if not name.replace("-", "").isalnum():
        raise InputError(f"CUDA_VISIBLE_DEVICES holds {name!r}; expected indices or UUIDs of GPUs")
    return name


def _cpu_info() -> str:
    """What Linux says of the processors; elsewhere nothing."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
