"""Evidence by betting: worked by hand, against its definition, and against what it promises."""

import math

import numpy as np
import pytest

from segmodels import betting


def test_without_a_difference_nothing_is_won() -> None:
    assert betting.evidence(np.zeros(50)) == pytest.approx(0)


def test_one_cluster_by_hand() -> None:
    # the stakes' mean is what matters for one cluster: E = 1 + mean(stake) * difference
    stakes = [0.1 * 47.5 ** (number / 15) for number in range(16)]  # from 0.02 / 0.2 to 0.95 / 0.2
    assert math.exp(betting.evidence(np.array([0.1]))) == pytest.approx(1 + sum(stakes) / 16 * 0.1)


def test_it_is_the_mean_of_the_products() -> None:
    differences = np.random.default_rng(0).normal(0.01, 0.1, 60)
    stakes = np.geomspace(0.02 / 0.2, 0.95 / 0.2, 16)
    plainly = np.mean([np.prod(1 + stake * np.clip(differences, -0.2, 0.2)) for stake in stakes])
    assert betting.evidence(differences) == pytest.approx(math.log(plainly))


def test_thousands_of_clusters_overflow_nothing() -> None:
    # the boldest gambler has 1.95 times as much after each; the fifteen others have nothing beside that
    assert betting.evidence(np.full(100_000, 0.2)) == pytest.approx(100_000 * math.log(1.95) - math.log(16))
    assert betting.evidence(np.full(100_000, -0.2)) < -1000


def test_one_great_cluster_proves_nothing() -> None:
    rest = np.zeros(99)
    assert betting.evidence(np.array([1.0, *rest])) == betting.evidence(np.array([0.2, *rest])) < math.log(2)


@pytest.mark.parametrize("draw", ["normal", "rare disasters"])
def test_an_equal_challenger_rarely_reaches_what_is_needed(draw: str) -> None:
    """Markov's inequality at a level that can be counted: at most 5 % of 4,000, and more than three deviations of that are 6.1 %."""
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(4000):
        if draw == "normal":
            differences = rng.normal(0, 0.06, 100)
        else:  # better nearly everywhere by 0.5 points, and worse by 16.2 in three of a hundred: 0 on average
            differences = np.where(rng.random(100) < 0.03, -0.005 * 0.97 / 0.03, 0.005)
        found += betting.evidence(differences) >= betting.needed(0.05)
    assert found / 4000 < 0.061


def test_the_detectable_gain_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(2)
    differences = rng.normal(0, 0.06, 300)
    alpha = 0.05 / 365
    gain = betting.detectable_gain(differences, alpha, seed=0)
    assert gain is not None
    found = [betting.evidence(rng.normal(gain, 0.06, 300)) >= betting.needed(alpha) for _ in range(1000)]
    assert 0.74 < np.mean(found) < 0.86
    # what was simulated beforehand for such a test set: 2 points with power 0.82
    assert gain == pytest.approx(0.02, abs=0.002)


def test_it_takes_eighteen_clusters_to_show_anything() -> None:
    alpha = 0.05 / 365
    # at the highest stake seventeen clusters won by 0.2 give 1.95 ** 17 = 85,250, and the mean over the stakes is a tenth of that
    assert math.exp(betting.evidence(np.full(17, 0.2))) == pytest.approx(6231, abs=1)
    assert betting.evidence(np.full(17, 0.2)) < betting.needed(alpha) < betting.evidence(np.full(18, 0.2))
    assert betting.detectable_gain(np.zeros(17), alpha, seed=0) is None
    assert betting.detectable_gain(np.zeros(18), alpha, seed=0) == pytest.approx(0.194, abs=0.006)
