"""Examines a machine and a project: what is there, what is wrong, and what to do about it."""

import os
import platform
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import psutil

from segmodels import device, memory, params, preflight, tracking
from segmodels.errors import InputError

LOW_DISK_BYTES = 5 * 10**9
LOW_MEMORY_BYTES = 4 * 10**9


@dataclass(frozen=True)
class Finding:
    """One line of the examination. `text` says what was found and, unless it is well, the remedy."""

    name: str
    state: Literal["well", "doubtful", "wrong"]
    text: str


def examine(params_path: Path, dataset: Path) -> Iterator[Finding]:
    """Look at everything, one finding after the other."""
    yield _python()
    yield from _torch()
    yield _cores()
    yield _memory()
    yield _disk(Path.cwd())
    yield from _programs()
    yield _params(params_path, dataset)
    yield from _servers()


def _python() -> Finding:
    return Finding("Python", "well", f"{platform.python_version()} at {sys.prefix}")


def _torch() -> Iterator[Finding]:
    import torch

    yield Finding("torch", "well", f"{torch.__version__}, built for CUDA {torch.version.cuda or '(none)'}")
    count = torch.cuda.device_count()
    if count == 0:
        bf16 = "bf16 in hardware" if device.has_bf16(torch.device("cpu")) else "fp32"
        if shutil.which("nvidia-smi"):
            yield Finding(
                "GPU", "wrong", "there is an NVIDIA driver, but torch sees no GPU; compare `nvidia-smi` with torch's CUDA"
            )
        else:
            yield Finding("GPU", "well", f"none: everything runs on the CPU, in {bf16}")
    for index in range(count):
        facts = torch.cuda.get_device_properties(index)
        precision = device.precision("auto", torch.device("cuda", index))
        yield Finding(f"GPU {index}", "well", f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, trains in {precision}")


def _cores() -> Finding:
    usable = len(psutil.Process().cpu_affinity()) if sys.platform == "linux" else os.cpu_count()
    return Finding("CPU cores", "well", f"{usable} usable of {os.cpu_count()}")


def _memory() -> Finding:
    free = memory.available_bytes()
    text = f"{free / 1e9:.1f} GB free of {psutil.virtual_memory().total / 1e9:.1f} GB"
    if free < LOW_MEMORY_BYTES:
        return Finding("memory", "doubtful", f"{text}; lower training.batch_size if a training is killed")
    return Finding("memory", "well", text)


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:.1f} GB free"
    if free < LOW_DISK_BYTES:
        return Finding("disk", "doubtful", f"{text}; free some: `dvc gc --workspace` removes old versions of data and models")
    return Finding("disk", "well", text)


def _programs() -> Iterator[Finding]:
    for name in ("dvc", "prefect", "mlflow"):
        try:
            yield Finding(name, "well", version(name))
        except PackageNotFoundError:
            yield Finding(name, "wrong", "is not installed; run `make setup`")
    if shutil.which("git") is None:
        yield Finding("git", "wrong", "is not installed; DVC needs it")


def _params(path: Path, dataset: Path) -> Finding:
    try:
        read = params.read(path)
        preflight.check(read)
    except InputError as error:
        return Finding("params", "wrong", str(error))
    names = f"project {read.project}, candidates {', '.join(read.candidates)}"
    if not dataset.is_dir():
        return Finding("params", "doubtful", f"{names}; {dataset} is missing: `make data SOURCE=<folder> FORMAT=<name>`")
    return Finding("params", "well", f"{names}; dataset at {dataset}")


def _servers() -> Iterator[Finding]:
    if tracking.is_begun():
        yield _reached(f"MLflow at {tracking.uri()}", tracking.ping, "start it or unset MLFLOW_TRACKING_URI")
    else:
        yield Finding(f"MLflow at {tracking.uri()}", "well", "not there yet: the first retraining makes it")
    address = os.environ.get("PREFECT_API_URL")
    if address is None:
        yield Finding("Prefect", "well", "no server set: each retraining starts a temporary one")
    else:
        yield _reached(f"Prefect at {address}", lambda: _get(f"{address}/health"), "start it or unset PREFECT_API_URL")


def _reached(name: str, attempt: Callable[[], object], remedy: str) -> Finding:
    try:
        attempt()
    except (OSError, ValueError) as error:
        return Finding(name, "wrong", f"cannot be reached ({error}); {remedy}")
    return Finding(name, "well", "reached")


def _get(address: str) -> None:
    if not address.startswith(("http://", "https://")):
        raise ValueError("expected an address that begins with http:// or https://")
    urllib.request.urlopen(address, timeout=5).close()  # noqa: S310 the scheme is checked above
