"""The promotion gate: whether a challenger takes the champion's place. A decision from what is handed in, which nothing else enters.

Both are scored on the same frozen test images, by which the challenger was not chosen. What is asked, and in this order: evidence that it is better, see betting.py; that it does
not fail badly more often than it shines; that no class and no slice of the images lost; and that it is not worse than the best champion
there has been, so that little losses do not add up.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from segmodels import betting, metrics, significance
from segmodels.counts import INSIDE, counts_of
from segmodels.samples import FloatArray
from segmodels.significance import MIN_SCENES, RESAMPLES, Counts

Outcome = Literal["promote", "keep", "inconclusive", "refused"]
"""`keep`: the champion is no worse, or the challenger lost something; `inconclusive`: it seems better, and this test set cannot tell;
`refused`: it breaks a floor, whatever it is compared with."""
WORST = 10
"""Images that lost most, which a verdict names."""


@dataclass(frozen=True)
class Rules:
    """What a promotion takes.

    Attributes:
        false_promotions_per_year: how many promotions of a model that is no better a year may have, on average.
        gates_per_year: how often it is decided; each decision may use its part of them.
        class_margin: what no class and no slice may have lost in mIoU, as far as 95 % tell.
        anchor_margin: what the challenger may be worse than the best champion ever, as far as 95 % tell.
        vault_openings_per_year: how often the vault may be asked; each opening may use its part of the false promotions.
    """

    false_promotions_per_year: float = 0.05
    gates_per_year: int = 365
    class_margin: float = 0.02
    anchor_margin: float = 0.005
    vault_openings_per_year: int = 6

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Those of the section `gate` of params.yaml."""
        return cls(**{one.name: settings[one.name] for one in fields(cls)})

    @property
    def alpha(self) -> float:
        """The chance of a false promotion in one decision."""
        return self.false_promotions_per_year / self.gates_per_year

    @property
    def vault_alpha(self) -> float:
        """The chance that one opening of the vault lets a challenger pass that is no better there."""
        return min(0.5, self.false_promotions_per_year / self.vault_openings_per_year)


@dataclass(frozen=True)
class Scored:
    """A model on the test images, which all models have in the same order.

    Attributes:
        name: for people.
        miou: of each image; NaN where nothing is there and nothing was predicted.
        counts: of each image and class.
    """

    name: str
    miou: FloatArray
    counts: Counts

    @classmethod
    def of(cls, name: str, images: pd.DataFrame, num_classes: int) -> Self:
        """From the table of counts that `evaluate` writes."""
        right, true, predicted = (counts_of(images, kind, num_classes) for kind in INSIDE)
        return cls(name, images["miou"].to_numpy(np.float64), (right, true, predicted))


@dataclass(frozen=True)
class Change:
    """What became of a part of the scores: challenger less another, with the ends of its 95 % interval."""

    what: str
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Movement:
    """Where a class, or mIoU, went since the last decision, and what that is put down to.

    Attributes:
        before: the champion's IoU on the images and labels of the last decision; None where none of them shows the class.
        now: the champion's on those of today: what lies between is the data's.
        challenger: the challenger's on those of today: what lies between is the model's. Both None where none shows the class.
    """

    what: str
    before: float | None
    now: float | None
    challenger: float | None


@dataclass(frozen=True)
class Regression:
    """A test image on which the challenger is worse: its id, and the mIoU of both on it."""

    image: str
    champion: float
    challenger: float


@dataclass(frozen=True)
class Verdict:
    """What was decided, why, and what it was decided from.

    Attributes:
        reason: one sentence.
        gain: in dataset mIoU.
        clusters: how many scenes were bet on.
        times: what the gamblers have in the end for what they began with, as a natural logarithm, and `times_needed` what they had to have.
        detectable: the smallest gain this test set shows four times in five; None if it shows none.
        worse, better: clusters in which the challenger is off by more than betting.CLIP.
        anchor: against the best champion ever, where that is not the present one.
        vault: what the vault said, where it was asked.
        movements: of mIoU and of each class, where test images have come, or their labels have changed, since the last decision.
        regressions: the images that lost most, the worst first.
    """

    outcome: Outcome
    reason: str
    gain: Change | None = None
    clusters: int = 0
    times: float = 0.0
    times_needed: float = 0.0
    detectable: float | None = None
    worse: int = 0
    better: int = 0
    classes: Sequence[Change] = ()
    slices: Sequence[Change] = ()
    anchor: Change | None = None
    movements: Sequence[Movement] = ()
    vault: Literal["passed", "failed", "closed"] | None = None
    regressions: Sequence[Regression] = ()


def decide(
    challenger: Scored,
    champion: Scored,
    *,
    classes: Sequence[str],
    images: Sequence[str],
    scenes: Sequence[str],
    slices: Mapping[str, NDArray[np.bool_]] | None = None,
    before: Scored | None = None,
    best: Scored | None = None,
    rules: Rules = Rules(),
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Verdict:
    """Whether the challenger takes the champion's place.

    Args:
        images: their ids.
        scenes: of each image, what it belongs to with others that resemble it.
        slices: parts of the images by name, as what is in them.
        before: the champion on the images and labels of the last decision, where those were others.
        best: the best champion ever, if it is another than the present one.
    """
    units = significance.units_of(scenes)  # what intervals draw; what is bet on are scenes, however few
    if not champion.counts[1].any():
        return Verdict("inconclusive", "the test images show no class: there is nothing to decide by")
    alpha = rules.alpha
    gain, changed = changes(challenger, champion, classes, units, seed=seed, resamples=resamples)
    differences = by_cluster(challenger.miou, champion.miou, scenes)
    found = Verdict(
        outcome="promote",
        reason="",
        gain=gain,
        clusters=len(differences),
        times=betting.evidence(differences),
        times_needed=betting.needed(alpha),
        detectable=betting.detectable_gain(differences, alpha, seed=seed),
        worse=int((differences < -betting.CLIP).sum()),
        better=int((differences > betting.CLIP).sum()),
        classes=changed,
        slices=_sliced(challenger, champion, classes, units, slices or {}, seed=seed, resamples=resamples),
        anchor=None if best is None else changes(challenger, best, classes, units, seed=seed, resamples=resamples)[0],
        movements=() if before is None else movements(challenger, champion, classes, before),
        regressions=regressions(challenger.miou, champion.miou, images),
    )
    outcome, reason = _judged(found, challenger.name, champion.name, rules)
    return replace(found, outcome=outcome, reason=reason)


def passes_vault(challenger: Scored, champion: Scored, *, scenes: Sequence[str], rules: Rules) -> bool:
    """Whether the challenger is better on the vault too: test scenes that nothing was chosen by, and of which nothing else is told.

    The test set's evidence assumes that no score on it has steered the challenger; that of the vault does not. It may be asked a few
    times a year, by as many challengers, so that each needs less evidence than the nightly ones.
    """
    return betting.evidence(by_cluster(challenger.miou, champion.miou, scenes)) >= betting.needed(rules.vault_alpha)


def scenes_for_vault(rules: Rules) -> int:
    """How many scenes the vault must have to let anybody pass: of fewer not even the greatest gain in each is evidence enough."""
    count = 1
    while betting.evidence(np.full(count, betting.CLIP)) < betting.needed(rules.vault_alpha):
        count += 1
    return count


def by_cluster(challenger: FloatArray, champion: FloatArray, scenes: Sequence[str]) -> FloatArray:
    """The mean difference over the images of each scene. Where one model rightly says that nothing is there, it has that image right."""
    known = ~(np.isnan(challenger) & np.isnan(champion))
    apart = (_right(challenger) - _right(champion))[known]
    _, index = np.unique(np.array(scenes)[known], return_inverse=True)
    means: FloatArray = np.bincount(index, apart) / np.bincount(index)
    return means


def regressions(challenger: FloatArray, champion: FloatArray, images: Sequence[str]) -> list[Regression]:
    """The images that lost most, at most WORST, the worst first."""
    found = [
        Regression(image, float(was), float(now))
        for image, was, now in zip(images, _right(champion), _right(challenger), strict=True)
        if now < was
    ]
    return sorted(found, key=lambda one: (one.challenger - one.champion, one.image))[:WORST]


def _right(miou: FloatArray) -> FloatArray:
    """Of an image that shows nothing, and of which a model says so, it has all right."""
    return np.nan_to_num(miou, nan=1.0)


def changes(
    one: Scored, other: Scored, classes: Sequence[str], units: Sequence[str], *, seed: int, resamples: int
) -> tuple[Change, list[Change]]:
    """What changed in mIoU, and in the IoU of each class that the images show; drawn unit by unit, the same for both."""
    drawn = significance.drawn_ious({"one": one.counts, "other": other.counts}, units, seed=seed, resamples=resamples)
    apart = drawn["one"] - drawn["other"]
    now = _ious(one) - _ious(other)
    known = [number for number in range(len(classes)) if not np.isnan(now[number])]
    gain = Change("mIoU", float(now[known].mean()), *significance.interval(significance.means(apart[:, known])))
    return gain, [Change(classes[k], float(now[k]), *significance.interval(apart[:, k])) for k in known]


def movements(challenger: Scored, champion: Scored, classes: Sequence[str], before: Scored) -> list[Movement]:
    """What is put down to the data, and what to the model: the champion on the images and labels of then, on those of now, and the challenger."""
    columns = [_ious(one) for one in (before, champion, challenger)]
    values = [[float(np.nanmean(column)) if (~np.isnan(column)).any() else np.nan, *column] for column in columns]
    rows = zip(("mIoU", *classes), *values, strict=True)
    return [Movement(what, *(None if np.isnan(value) else float(value) for value in found)) for what, *found in rows]


def _ious(scored: Scored) -> FloatArray:
    """Of each class over all images; NaN where none shows it."""
    right, true, predicted = (kind.sum(axis=0) for kind in scored.counts)
    return np.where(true > 0, metrics.iou(right, true, predicted), np.nan)


def _sliced(
    challenger: Scored,
    champion: Scored,
    classes: Sequence[str],
    units: Sequence[str],
    slices: Mapping[str, NDArray[np.bool_]],
    *,
    seed: int,
    resamples: int,
) -> list[Change]:
    """Of each slice that has scenes enough to tell anything, or images, as a slice may be a scene."""
    found = []
    for name, inside in slices.items():
        its_units = significance.units_of([unit for unit, is_in in zip(units, inside, strict=True) if is_in])
        if len(set(its_units)) >= MIN_SCENES and champion.counts[1][inside].any():
            one, other = _of(challenger, inside), _of(champion, inside)
            gain, _ = changes(one, other, classes, its_units, seed=seed, resamples=resamples)
            found.append(Change(name, gain.difference, gain.low, gain.high))
    return found


def _of(scored: Scored, inside: NDArray[np.bool_]) -> Scored:
    right, true, predicted = (kind[inside] for kind in scored.counts)
    return Scored(scored.name, scored.miou[inside], (right, true, predicted))


def _judged(found: Verdict, challenger: str, champion: str, rules: Rules) -> tuple[Outcome, str]:
    assert found.gain is not None
    by = f"{100 * found.gain.difference:+.2f} points of mIoU ({100 * found.gain.low:+.2f} to {100 * found.gain.high:+.2f})"
    if found.gain.difference <= 0:
        return "keep", f"{challenger} is no better than {champion}: {by}"
    lost = _lost(found, rules)
    if found.times < found.times_needed:
        can = "no gain at all" if found.detectable is None else f"only gains of {100 * found.detectable:.1f} points or more"
        return "inconclusive", "; ".join(
            [
                f"{challenger} seems better than {champion}, {by}, but {found.clusters} independent parts of the test images can show {can}: the "
                f"evidence is {_times(found.times)}, and {_times(found.times_needed)} is needed",
                *lost,
            ]
        )
    if lost:
        return "keep", f"{challenger} is better than {champion} on the whole, {by}, but {'; '.join(lost)}"
    return "promote", (
        f"{challenger} is better than {champion}: {by}; the evidence is {_times(found.times)}, and {_times(found.times_needed)} is needed"
    )


def _lost(found: Verdict, rules: Rules) -> list[str]:
    """What speaks against a challenger that is better on the whole."""
    lost = []
    if found.worse > found.better:
        lost.append(f"it fails badly in {found.worse} parts and shines in {found.better}")
    for one in (*found.classes, *found.slices):
        if one.low <= -rules.class_margin:
            lost.append(f"{one.what} may have lost {-100 * one.low:.1f} points (more than {100 * rules.class_margin:g})")
    anchor, what = (found.gain, "the champion") if found.anchor is None else (found.anchor, "the best champion ever")
    assert anchor is not None
    if anchor.low <= -rules.anchor_margin:
        lost.append(f"it may be {-100 * anchor.low:.1f} points worse than {what} (more than {100 * rules.anchor_margin:g})")
    return lost


def _times(log: float) -> str:
    """How many times as much, for people."""
    return f"{math.exp(log):,.0f} to 1" if log < 16 else f"10^{log / math.log(10):.0f} to 1"
