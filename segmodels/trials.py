"""What `auto` comes to where it has to be measured, with a few steps of the very training that is to be."""

import itertools
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from segmodels import batches, device, memory, objective
from segmodels.batches import Batch
from segmodels.errors import TrainingError
from segmodels.fingerprint import Decision
from segmodels.logits import labelling_of
from segmodels.plan import Plan
from segmodels.recipes import Recipe
from segmodels.store import Store

LARGEST_BATCH = {"cpu": 8, "cuda": 64}
"""A CPU is no faster with more, and larger ones seldom train better."""
FEWEST_STEPS = 4
"""Of an epoch: a batch of more than 2 is no larger than leaves so many."""
SPARE_MEMORY = 0.8
"""The share of the free memory that a batch may take: averaged weights and what other processes exchange come on top."""
LOWEST_RATE, HIGHEST_RATE, RATE_STEPS = 1e-5, 1e-1, 50
USUAL_RATE = 1e-3
FIRST_STEPS = 5
"""Their median is where the loss began: single batches differ too much."""
SMOOTHING = 0.8
RISEN = 2.0
"""A smoothed loss this many times that of the first steps has left the valley: further steps tell nothing."""
TENTH = 0.1
"""Of the rate where the loss was lowest: there it is about to rise again."""


@dataclass(frozen=True)
class Trial:
    """A training to be tried out; what is to be found, the plan's batch size or learning rate, is of no account in it."""

    plan: Plan
    store: Store
    recipe: Recipe
    on: torch.device
    precision: device.Precision

    def decide_batch_size(self) -> Decision:
        """The largest power of two that fits into the memory of each device and leaves FEWEST_STEPS steps an epoch.

        It is 1 also where not even that fits, which the training then says.
        """
        devices = self.plan.settings.devices
        num_images = len(self.store.rows("train")) // devices
        by_data = max(num_images // FEWEST_STEPS, min(2, num_images), 1)
        limit = LARGEST_BATCH[self.on.type]
        largest = min(limit, 2 ** int(math.log2(by_data)))
        chosen, why = 1, f"the largest of 1, 2, 4, ... that {num_images * devices} training images allow"
        if largest == limit:
            why = f"the largest that is tried on a {'GPU' if self.on.type == 'cuda' else 'CPU'}"
        device.free_memory()
        # measured once, before the first trial: later ones would count what the process keeps of earlier ones as held by others
        held, free = device.held_bytes(self.on), _free_bytes(self.on)
        while chosen < largest:
            if not self._doubled_fits(chosen, held, free):
                why = f"the largest of 1, 2, 4, ... that fits into the memory of {device.describe(self.on)}"
                break
            chosen *= 2
        each = f", on each of {devices} devices" if devices > 1 else ""
        return Decision("training.batch_size", chosen * devices, why + each)

    def decide_learning_rate(self, batch_size: int) -> Decision:
        """A tenth of the rate at which the loss is lowest, as the rate rises from step to step: the range test (arXiv:1506.01186).

        Every weight moves as it will in training, once the encoder is no longer frozen.

        Raises:
            TrainingError: the loss is no number from the start, or one image is too much for the memory.
        """
        settings = self.plan.settings
        at_once = batches.divisor(batch_size, settings.micro_batch_size or -(-batch_size // settings.devices))
        while True:
            try:
                rates, losses, began = self._rising(batch_size, at_once)
                break
            except device.MEMORY_ERRORS as error:
                if not device.is_out_of_memory(error):
                    raise
                told = str(error)
            if at_once == 1:
                raise settings.too_large(told)
            device.free_memory()
            at_once = batches.divisor(batch_size, at_once // 2)
        if len(losses) <= FIRST_STEPS:
            raise TrainingError(
                f"the loss is no number after {len(losses)} steps at a rate of {LOWEST_RATE:g}; set training.learning_rate, and "
                f"training.precision: fp32 if that does not help"
            )
        lowest = FIRST_STEPS + int(np.argmin(losses[FIRST_STEPS:]))
        if losses[lowest] >= began:
            reason = f"the usual one, as the loss ({began:.3g}) fell at no rate from {LOWEST_RATE:g} to {rates[-1]:.2g}"
            return Decision("training.learning_rate", USUAL_RATE, reason)
        reason = (
            f"a tenth of {rates[lowest]:.2g}, where the loss was lowest ({losses[lowest]:.3g}, at first {began:.3g}) "
            f"in {len(rates)} steps of rising rates"
        )
        return Decision("training.learning_rate", float(f"{rates[lowest] * TENTH:.2g}"), reason)

    def _doubled_fits(self, batch_size: int, held: int, free: int) -> bool:
        """Whether twice as many images at once take no more than their share of the free memory, in bytes as `held` is."""
        settings = self.plan.settings
        at_once = min(2 * batch_size, settings.micro_batch_size or 2 * batch_size)
        share = SPARE_MEMORY * free / (1 if self.on.type == "cuda" else settings.devices)
        # of a CPU more memory than there is must not be asked for: that would end the process, not the step
        if self.on.type == "cpu" and 2 * (self._needed_bytes(max(1, at_once // 2), held) or 0) > share:
            return False
        needed = self._needed_bytes(at_once, held)
        return needed is not None and needed <= share

    def _needed_bytes(self, at_once: int, held: int) -> int | None:
        """The most memory above `held` that was taken in two steps (AdamW's moments come with the first); None for not enough."""
        device.forget_peak(self.on)
        try:
            for _ in itertools.islice(self._steps(at_once, at_once, rate=0.0), 2):
                pass
            return device.peak_bytes(self.on) - held
        except device.MEMORY_ERRORS as error:
            if not device.is_out_of_memory(error):
                raise
            return None
        finally:
            device.free_memory()

    def _rising(self, batch_size: int, at_once: int) -> tuple[list[float], list[float], float]:
        """Rates, the smoothed losses at them, and where the loss began."""
        rates: list[float] = []
        losses: list[float] = []
        first: list[float] = []
        factor = (HIGHEST_RATE / LOWEST_RATE) ** (1 / (RATE_STEPS - 1))
        average = 0.0
        steps = self._steps(batch_size, at_once, rate=LOWEST_RATE, factor=factor)
        for step, value in enumerate(itertools.islice(steps, RATE_STEPS)):
            average = SMOOTHING * average + (1 - SMOOTHING) * value
            smoothed = average / (1 - SMOOTHING ** (step + 1))
            if not math.isfinite(value):
                break
            rates.append(LOWEST_RATE * factor**step)
            losses.append(smoothed)
            if step < FIRST_STEPS:
                first.append(value)
            elif 0 < RISEN * statistics.median(first) < smoothed:
                break
        return rates, losses, statistics.median(first or [math.nan])

    def _steps(self, batch_size: int, at_once: int, *, rate: float, factor: float = 1.0) -> Iterator[float]:
        """Train on and on, with a rate that changes by `factor` from step to step; yields the loss before each step."""
        segmenter, loss = self.plan.segmenter(self.store).to(self.on).train(), self.plan.objective(self.store)
        optimization = replace(self.plan.optimization, learning_rate=rate)
        optimizer = optimization.optimizer(segmenter)
        drawn, parts = self._batches(batch_size, at_once), batch_size // at_once
        while True:
            optimizer.zero_grad()
            total = 0.0
            for images, masks in itertools.islice(drawn, parts):
                target = labelling_of(masks.to(self.on), self.store.labels).long()
                with device.autocast(self.on, self.precision):
                    value = objective.of(segmenter, loss, images.to(self.on), target) / parts
                value.backward()
                total += float(value.detach())
            yield total
            optimization.clip(segmenter)
            optimizer.step()
            for group in optimizer.param_groups:
                group["lr"] *= factor

    def _batches(self, batch_size: int, at_once: int) -> Iterator[Batch]:
        """Epoch after epoch, as the training will draw them."""
        assert batch_size <= len(self.store.rows("train")), batch_size
        for epoch in itertools.count():
            yield from batches.training(
                self.store,
                self.recipe,
                batch_size=batch_size,
                micro_batch_size=at_once,
                balanced_crops=self.plan.settings.balanced_crops,
                parts=1,
                start=epoch,
                rank=0,
                world=1,
                seed=self.plan.settings.seed,
                pin=False,
            )


def _free_bytes(on: torch.device) -> int:
    return torch.cuda.mem_get_info(on)[0] if on.type == "cuda" else memory.available_bytes()
