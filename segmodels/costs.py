"""What an architecture costs: parameters, arithmetic, time and memory of a training step, measured on this machine."""

import multiprocessing
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from segmodels import device, network, objective
from segmodels.errors import InputError
from segmodels.network import Segmenter

WARM_UP = 2


@dataclass(frozen=True)
class Cost:
    """Of one architecture at one size.

    Attributes:
        parameters: how many are trained.
        gflops: of predicting one image, a multiplication and an addition counted as two.
        step_ms: median time of one training step: forward, backward and the optimizer.
        predict_ms: median time of predicting one image.
        peak_mib: memory that training takes at most beside the program itself, in 2^20 bytes: of the GPU, or of the process.
    """

    architecture: str
    encoder: str
    parameters: int
    gflops: float
    step_ms: float
    predict_ms: float
    peak_mib: float


@dataclass(frozen=True)
class Conditions:
    """What all are measured with: images of `size_px` (height, width), and `steps` that the medians are taken over."""

    size_px: tuple[int, int]
    batch_size: int
    num_classes: int
    steps: int


def measure_each(networks: Sequence[tuple[str, str]], conditions: Conditions) -> Iterator[Cost]:
    """Measure architectures with their encoders one after the other, each in a process of its own, so that none stands in another's memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for architecture, encoder in networks:
            yield pool.submit(measure, architecture, encoder, conditions).result()


def measure(architecture: str, encoder: str, conditions: Conditions) -> Cost:
    """Train on random images, in the precision and on the device that a training would use."""
    chosen = device.default()
    precision = device.precision("auto", chosen)
    size_px, batch_size, num_classes, steps = astuple(conditions)
    before = device.peak_bytes(chosen)
    segmenter = network.build(
        architecture=architecture,
        encoder=encoder,
        weights=None,
        options={},
        num_logits=num_classes,
        mean=[128.0] * 3,
        std=[64.0] * 3,
    ).to(chosen)
    images = torch.randint(0, 256, (batch_size, 3, *size_px), dtype=torch.uint8, device=chosen)
    images = images.to(memory_format=torch.channels_last)
    target = torch.randint(0, num_classes, (batch_size, *size_px), device=chosen)
    flops = _flops(segmenter.eval(), images[:1])
    predict_ms = _median_ms(lambda: _predict(segmenter, images[:1], precision), steps, chosen)
    optimizer = torch.optim.AdamW(segmenter.train().parameters(), lr=1e-4, fused=True)
    loss = objective.build("multiclass", [objective.Term("cross_entropy", {})])

    def step() -> None:
        with device.autocast(chosen, precision):
            value = objective.of(segmenter, loss, images, target)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    step_ms = _median_ms(step, steps, chosen)
    return Cost(
        architecture=architecture,
        encoder=encoder,
        parameters=sum(parameter.numel() for parameter in segmenter.parameters()),
        gflops=flops / 1e9,
        step_ms=step_ms,
        predict_ms=predict_ms,
        peak_mib=(device.peak_bytes(chosen) - before) / 2**20,
    )


@torch.inference_mode()
def _predict(segmenter: Segmenter, images_BCHW: torch.Tensor, precision: device.Precision) -> None:
    with device.autocast(images_BCHW.device, precision):
        segmenter(images_BCHW)


@torch.inference_mode()
def _flops(segmenter: Segmenter, images_BCHW: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        segmenter(images_BCHW)
    return int(counter.get_total_flops())


def _median_ms(run: Any, times: int, chosen: torch.device) -> float:
    seconds = []
    for number in range(WARM_UP + times):
        start = time.perf_counter()
        run()
        if chosen.type == "cuda":
            torch.cuda.synchronize(chosen)
        if number >= WARM_UP:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1000


COLUMNS = ("architecture", "encoder", "parameters", "GFLOPs", "ms/step", "ms/image", "peak MiB")
MARKS = ("<!-- costs -->", "<!-- /costs -->")


def cells(cost: Cost) -> tuple[str, ...]:
    """A row of the table, as text."""
    return (
        cost.architecture,
        cost.encoder,
        f"{cost.parameters / 1e6:.1f} M",
        f"{cost.gflops:.1f}",
        f"{cost.step_ms:.0f}",
        f"{cost.predict_ms:.0f}",
        f"{cost.peak_mib:.0f}",
    )


def describe(conditions: Conditions) -> str:
    """What was measured on what, in a sentence."""
    chosen = device.default()
    height, width = conditions.size_px
    return (
        f"{height} x {width} pixels, batches of {conditions.batch_size}, {device.precision('auto', chosen)}, "
        f"{device.describe(chosen)}, torch {torch.__version__.partition('+')[0]}"
    )


def markdown(costs: Sequence[Cost], caption: str) -> str:
    """The table for a page."""
    rows = [COLUMNS, ("---", "---", *["---:"] * (len(COLUMNS) - 2)), *(cells(cost) for cost in costs)]
    return "\n".join([f"Measured with {caption}:", "", *("| " + " | ".join(row) + " |" for row in rows)])


def around_table(page: Path) -> tuple[str, str]:
    """What stands before and after the place for the table, its marks with it.

    Raises:
        InputError: the page does not have them.
    """
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    before, start, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not (start and end):
        raise InputError(f"{page}: has no line {MARKS[0]!r} with {MARKS[1]!r} after it; write them where the table is to stand")
    return before + start, end + after
