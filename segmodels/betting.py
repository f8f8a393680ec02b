"""Whether a challenger is better than the champion, asked night after night on the same test images without being fooled once.

Testing by betting (Waudby-Smith and Ramdas 2024, doi:10.1093/jrsssb/qkad009): a gambler who believes in the challenger stakes a share of what
he has on every cluster of images, and wins or loses as the challenger does there. Against a challenger that is no better he
has as much in the end as he began with, on average; so that he ends with 1 / alpha times as much has a chance of at most alpha (Ville's
inequality). This needs neither normal differences nor many clusters, only that clusters are independent.
"""

import math

import numpy as np

from segmodels.samples import FloatArray

CLIP = 0.2
"""A cluster counts at most so much: what happens beyond is looked at as a tail."""
_STAKES = np.geomspace(0.02 / CLIP, 0.95 / CLIP, 16)
"""Shares that gamblers stake, from cautious ones to ones that one bad cluster nearly ruins; what counts is what they have together."""

TRIALS, POWER = 400, 0.8
STEPS = 20


def evidence(differences: FloatArray) -> float:
    """The natural logarithm of how many times as much the gamblers have in the end.

    Args:
        differences: of each cluster, challenger less champion, from -1 to 1; those that are not clipped yet are.
    """
    return float(evidence_of_each(differences[None])[0])


def needed(alpha: float) -> float:
    """The evidence that an equal challenger reaches with a chance of at most `alpha`."""
    return -math.log(alpha)


def detectable_gain(differences: FloatArray, alpha: float, *, seed: int, trials: int = TRIALS) -> float | None:
    """The smallest gain that this test set shows four times in five: a challenger better by that much, and otherwise as uneven as this one.

    None if it would not show the greatest that counts, `CLIP`.
    """
    rng = np.random.default_rng(seed)
    centred = differences - differences.mean()
    drawn = centred[rng.integers(0, len(centred), (trials, len(centred)))]

    def power(gain: float) -> float:
        return float(np.mean(evidence_of_each(drawn + gain) >= needed(alpha)))

    low, high = 0.0, CLIP
    if power(high) < POWER:
        return None
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high


def evidence_of_each(differences: FloatArray) -> FloatArray:
    """`evidence` of many sets of clusters at once, sets x clusters."""
    clipped = np.clip(differences, -CLIP, CLIP)
    logs = np.stack([np.log1p(stake * clipped).sum(axis=-1) for stake in _STAKES])
    highest = logs.max(axis=0)
    found: FloatArray = highest + np.log(np.exp(logs - highest).mean(axis=0))
    return found
