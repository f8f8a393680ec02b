"""What the gate would do with a test set in a year in which no model is ever better, and how often it finds one that is.

Every night another model meets the champion. All are equally good, and differ in each cluster of images as two models did that were
measured. On a frozen test set what a champion has luckily got right stays with it, so that only greater luck replaces it; on one that is drawn
anew each night it does not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

from segmodels import betting
from segmodels.counts import read_counts
from segmodels.errors import InputError
from segmodels.gate import Rules, by_cluster
from segmodels.samples import FloatArray

NIGHTS = 365
GAINS = (0.005, 0.01, 0.02, 0.03, 0.05)

Rule = Callable[[FloatArray], FloatArray]
"""Which of many challengers, years x clusters of differences, are promoted: 0 or 1 each."""


@dataclass(frozen=True)
class Simulated:
    """Of one rule of promotion.

    Attributes:
        frozen, redrawn: false promotions a year.
        power: how often a challenger that is better by each of GAINS is promoted.
    """

    rule: str
    frozen: float
    redrawn: float
    power: Sequence[float]


def measured(evaluated: Path, other: Path) -> FloatArray:
    """How two models that were evaluated on the same images differ in each cluster of them.

    Raises:
        InputError: the images are not the same.
    """
    one, two = (read_counts(folder) for folder in (evaluated, other))
    if one["id"].tolist() != two["id"].tolist():
        raise InputError(f"{evaluated.name} and {other.name} were evaluated on different images; run `make retrain`")
    mious = [images["miou"].to_numpy(np.float64) for images in (one, two)]
    return by_cluster(mious[0], mious[1], one["scene"].tolist())


def simulate(differences: FloatArray, rules: Rules, *, seed: int, years: int = 100, vault_scenes: int = 0) -> list[Simulated]:
    """The gate beside what else people do: promote what is not worse, and what a paired test, by the normal distribution, finds better at 5 %.

    Args:
        differences: of two models in each cluster of the test set, see betting.py; their mean is taken out.
        vault_scenes: in the vault, where the models are taken to differ as in the test set; 0 without one. That it may be asked a few times
            a year is left out: of models that are no better hardly one a year comes to it.
    """
    apart = differences - differences.mean()
    spread = np.concatenate([apart, -apart]) / np.sqrt(2)  # of one model: two of them differ as measured
    tested, scenes = len(apart), len(apart) + vault_scenes
    ways: dict[str, Rule] = {
        "evidence": lambda found: _gate(found[:, :tested], rules.alpha) * _vault(found[:, tested:], rules),
        "p < 0.05": lambda found: _z_test(found[:, :tested]),
        "not worse": lambda found: (found[:, :tested].mean(axis=1) >= 0).astype(float),
    }
    return [
        Simulated(
            name,
            _false_promotions(way, spread, scenes, frozen=True, years=years, seed=seed),
            _false_promotions(way, spread, scenes, frozen=False, years=years, seed=seed),
            [_power(way, spread, scenes, gain, seed=seed) for gain in GAINS],
        )
        for name, way in ways.items()
    ]


def _false_promotions(way: Rule, spread: FloatArray, clusters: int, *, frozen: bool, years: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    champions, promoted = rng.choice(spread, (years, clusters)), 0.0
    for _ in range(NIGHTS):
        challengers = rng.choice(spread, (years, clusters))
        if not frozen:
            champions = rng.choice(spread, (years, clusters))
        wins = way(challengers - champions)
        promoted += wins.sum()
        champions = np.where(wins[:, None] > 0, challengers, champions)
    return promoted / years


def _power(way: Rule, spread: FloatArray, clusters: int, gain: float, *, seed: int, trials: int = 1000) -> float:
    rng = np.random.default_rng(seed)
    return float(way(rng.choice(spread, (trials, clusters)) - rng.choice(spread, (trials, clusters)) + gain).mean())


def _gate(differences: FloatArray, alpha: float) -> FloatArray:
    """Evidence and tails: what classes and slices may forbid besides depends on the images."""
    tails = (differences < -betting.CLIP).sum(axis=1) <= (differences > betting.CLIP).sum(axis=1)
    found: FloatArray = ((betting.evidence_of_each(differences) >= betting.needed(alpha)) & tails).astype(float)
    return found


def _vault(differences: FloatArray, rules: Rules) -> FloatArray:
    if not differences.shape[1]:
        return np.ones(len(differences))
    found: FloatArray = (betting.evidence_of_each(differences) >= betting.needed(rules.vault_alpha)).astype(float)
    return found


def _z_test(differences: FloatArray) -> FloatArray:
    deviation = differences.std(axis=1, ddof=1) / np.sqrt(differences.shape[1])
    found: FloatArray = (differences.mean(axis=1) > NormalDist().inv_cdf(0.95) * deviation).astype(float)
    return found
