"""Whether candidates that were scored on the same images differ by more than chance.

Intervals: whole scenes (groups: patients, drives) are drawn with replacement, the same for all candidates, so that what they share cancels
out (cluster bootstrap, Field and Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x). Tests: if two candidates are equal, what each did in
a scene might as well have been the other's; p is how often swapping them scene by scene at random brings out such a difference
(paired randomisation test, Fisher 1935, "The Design of Experiments"; it holds for any number of scenes, where a bootstrap's p does not).
Many comparisons at once: Holm 1979.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from segmodels.metrics import iou
from segmodels.samples import FloatArray, Int64Array

RESAMPLES, AT_ONCE = 10_000, 500
LEVEL = 0.05
CLOSELY = 12
"""So many of the best are compared with each other, the rest with the best alone: every two of a thousand would be half a million comparisons."""
MIN_SCENES = 6
"""Below, single images are drawn: if all of five scenes favour one candidate, that still happens by chance in 2 of 2 ** 5 cases."""

Counts = tuple[Int64Array, Int64Array, Int64Array]
"""Pixels predicted rightly, true, predicted: each images x classes."""
_Summed = tuple[FloatArray, FloatArray, FloatArray]
"""The same by scene; whole numbers, as floats, which are multiplied ten times as fast."""


@dataclass(frozen=True)
class Difference:
    """Between two candidates: mIoU of the first less that of the second, its 95 % interval, and p, adjusted for all comparisons."""

    first: str
    second: str
    miou: float
    low: float
    high: float
    p: float

    @property
    def is_significant(self) -> bool:
        return self.p < LEVEL


@dataclass(frozen=True)
class Weighed:
    """What is certain of candidates.

    Attributes:
        intervals: 95 %, of each candidate's mIoU.
        differences: of every two of the best candidates, and of the best and every other one, the better one first.
        drawn: what was drawn, how many there are, and of how many scenes the images are.
    """

    intervals: dict[str, tuple[float, float]]
    differences: list[Difference]
    drawn: Literal["scenes", "images"]
    num_drawn: int
    num_scenes: int


def weigh(
    mious: Mapping[str, float],
    counts: Mapping[str, Counts],
    scenes: Sequence[str],
    *,
    elsewhere: Mapping[str, float] | None = None,
    same_but_for_the_seed: Sequence[Sequence[str]] = (),
    seed: int,
    resamples: int = RESAMPLES,
) -> Weighed:
    """Weigh candidates on the same images.

    Args:
        counts: of each candidate, on images in one order; `scenes` says of which scene each is.
        elsewhere: the mIoU of each on other images, by which it is chosen who is compared with whom, where they are many: who looks at these
            first, and then compares the extremes, finds differences by chance.
        same_but_for_the_seed: candidates of one kind each. They are not compared with each other: they are equal by what they are.
    """
    units = units_of(scenes)
    drawn: Literal["scenes", "images"] = "scenes" if len(set(units)) < len(scenes) else "images"
    kind = {name: number for number, names in enumerate(same_but_for_the_seed) for name in names}
    pairs = [
        (one, other) if (-mious[one], one) < (-mious[other], other) else (other, one)
        for one, other in _compared(mious if elsewhere is None else elsewhere)
        if one not in kind or kind[one] != kind.get(other)
    ]
    drawn_ones = drawn_mious(counts, units, seed=seed, resamples=resamples)
    draws = max(resamples, math.ceil(4 * len(pairs) / LEVEL))  # so that the least p there can be is little even after Holm
    adjusted = holm([swapped_p(counts[one], counts[other], units, seed=seed, resamples=draws) for one, other in pairs])
    return Weighed(
        intervals={name: interval(values) for name, values in drawn_ones.items()},
        differences=[
            Difference(one, other, mious[one] - mious[other], *interval(drawn_ones[one] - drawn_ones[other]), p)
            for (one, other), p in zip(pairs, adjusted, strict=True)
        ],
        drawn=drawn,
        num_drawn=len(set(units)),
        num_scenes=len(set(scenes)),
    )


def _compared(mious: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Who is compared with whom, the better one first."""
    ordered = sorted(mious, key=lambda name: (-mious[name], name))
    yield from combinations(ordered[:CLOSELY], 2)
    yield from ((ordered[0], other) for other in ordered[CLOSELY:])


def units_of(scenes: Sequence[str]) -> list[str]:
    """What is drawn, and bet on: scenes, or single images where there are too few scenes to tell anything."""
    return list(scenes) if len(set(scenes)) >= MIN_SCENES else [str(number) for number in range(len(scenes))]


def drawn_mious(counts: Mapping[str, Counts], units: Sequence[str], *, seed: int, resamples: int) -> dict[str, FloatArray]:
    """The macro mIoU of each candidate on the same `resamples` datasets, drawn unit by unit; NaN where a draw shows no class.

    A class that the images of a draw do not have counts for no candidate in it, whether it predicts some or not: else those that do and
    those that do not would be means over different classes.

    Args:
        units: the one that each image belongs to, in the order of the counts.
    """
    found: dict[str, list[FloatArray]] = {name: [] for name in counts}
    for name, drawn in _drawn(counts, units, seed=seed, resamples=resamples):
        found[name].append(means(drawn))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def drawn_ious(counts: Mapping[str, Counts], units: Sequence[str], *, seed: int, resamples: int) -> dict[str, FloatArray]:
    """The IoU of each class, `resamples` x classes, as `drawn_mious` averages them; NaN where a draw does not show the class."""
    found: dict[str, list[FloatArray]] = {name: [] for name in counts}
    for name, drawn in _drawn(counts, units, seed=seed, resamples=resamples):
        found[name].append(drawn)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _drawn(counts: Mapping[str, Counts], units: Sequence[str], *, seed: int, resamples: int) -> Iterator[tuple[str, FloatArray]]:
    """The same a part of the draws after the other: of all candidates, then the next part."""
    summed = {name: _by_unit(three, units) for name, three in counts.items()}
    rng = np.random.default_rng(seed)
    size = len(set(units))
    for number in _parts(resamples):
        times = rng.multinomial(size, np.full(size, 1 / size), size=number).astype(np.float64)
        for name, (right, true, predicted) in summed.items():
            missed = (times @ true == 0) & (true.sum(axis=0) > 0)
            yield name, np.where(missed, np.nan, iou(times @ right, times @ true, times @ predicted))


def swapped_p(one: Counts, other: Counts, units: Sequence[str], *, seed: int, resamples: int) -> float:
    """How often two candidates differ at least as they do if in each unit chance says which is which; two-sided."""
    first, second = _by_unit(one, units), _by_unit(other, units)
    apart = tuple(b - a for a, b in zip(first, second, strict=True))
    rng = np.random.default_rng(seed)

    def difference(swapped: FloatArray) -> FloatArray:
        moved = [swapped @ kind for kind in apart]
        these = iou(*(kind.sum(axis=0) + change for kind, change in zip(first, moved, strict=True)))
        those = iou(*(kind.sum(axis=0) - change for kind, change in zip(second, moved, strict=True)))
        return np.abs(means(these) - means(those))

    size = len(set(units))
    [observed] = difference(np.zeros((1, size)))
    if np.isnan(observed):
        return 1.0
    as_far = sum(
        int((difference(rng.integers(0, 2, (number, size)).astype(np.float64)) >= observed - 1e-12).sum())
        for number in _parts(resamples)
    )
    return (1 + as_far) / (1 + resamples)


def interval(drawn: FloatArray) -> tuple[float, float]:
    """The middle 95 % of what was drawn."""
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted so that among all comparisons the chance of any false "differs" stays below the level that each is compared with."""
    order = np.argsort(p, kind="stable")
    adjusted, highest = [0.0] * len(p), 0.0
    for position, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - position) * p[index]))
        adjusted[index] = highest
    return adjusted


def _parts(resamples: int) -> Iterator[int]:
    """The draws of all at once would take units x resamples."""
    for start in range(0, resamples, AT_ONCE):
        yield min(AT_ONCE, resamples - start)


def _by_unit(counts: Counts, units: Sequence[str]) -> _Summed:
    labels, index = np.unique(np.array(units), return_inverse=True)
    summed = tuple(np.zeros((len(labels), kind.shape[1])) for kind in counts)
    for into, kind in zip(summed, counts, strict=True):
        np.add.at(into, index, kind)
    right, true, predicted = summed
    return right, true, predicted


def means(values: FloatArray) -> FloatArray:
    """Of each row those that are known; NaN where none is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: FloatArray = np.nansum(values, axis=1) / known.sum(axis=1)
    return means
