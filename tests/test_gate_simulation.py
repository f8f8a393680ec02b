"""A year of equal models: what other rules would promote is known, and the gate keeps its word."""

import numpy as np
import pytest

from segmodels.gate import Rules, Scored, decide
from segmodels.gate_simulation import GAINS, simulate


@pytest.mark.unhurried
def test_a_year_of_equal_models_on_300_clusters() -> None:
    differences = np.random.default_rng(0).normal(0, 0.06, 300)
    gate, z_test, not_worse = simulate(differences, Rules(), seed=1, years=60)
    # of 365 equal models after the first champion, the k-th is the best so far with a chance of 1 / (k + 1): 1/2 + 1/3 + ... + 1/366
    assert not_worse.frozen == pytest.approx(sum(1 / k for k in range(2, 367)), rel=0.15)
    assert not_worse.redrawn == pytest.approx(365 / 2, rel=0.03)
    assert z_test.redrawn == pytest.approx(365 * 0.05, rel=0.15)
    assert z_test.frozen == pytest.approx(0.75, abs=0.35)
    # 0.05 a year is what is promised: in 60 years 3 of them are expected at most, and 8 hardly ever happen
    assert max(gate.frozen, gate.redrawn) * 60 < 8
    assert gate.power[GAINS.index(0.02)] == pytest.approx(0.82, abs=0.08)
    assert gate.power[GAINS.index(0.05)] > 0.999
    assert list(gate.power) == sorted(gate.power)


def test_more_false_promotions_allowed_find_more() -> None:
    differences = np.random.default_rng(0).normal(0, 0.06, 100)
    strict, _, _ = simulate(differences, Rules(), seed=1, years=2)
    lax, _, _ = simulate(differences, Rules(false_promotions_per_year=2.0), seed=1, years=2)
    assert lax.power[GAINS.index(0.02)] > strict.power[GAINS.index(0.02)]


@pytest.mark.unhurried
def test_a_vault_costs_power_and_one_that_is_too_small_finds_nothing() -> None:
    differences = np.random.default_rng(0).normal(0, 0.06, 200)
    gain = GAINS.index(0.03)
    without, with_one, too_small = (
        simulate(differences, Rules(), seed=1, years=2, vault_scenes=scenes)[0].power[gain] for scenes in (0, 100, 10)
    )
    assert without > with_one > 0.5
    assert too_small == 0  # of ten scenes not even the greatest gain in each is evidence enough, see gate.scenes_for_vault


@pytest.mark.slow
def test_a_year_of_equal_models_through_the_gate_itself_has_one_champion() -> None:
    """On a frozen test set of 100 scenes: evidence, tails, classes and anchor as they are asked every night."""
    rng = np.random.default_rng(3)
    hardness, scenes = rng.uniform(0.4, 0.8, (100, 1)), [str(number) for number in range(100)]

    def model(name: str, gain: float = 0.0) -> Scored:
        iou = np.clip(hardness + gain + rng.normal(0, 0.06, (100, 2)), 0, 1)
        right, true = (1000 * iou).astype(np.int64), np.full((100, 2), 1000)
        return Scored(name, (right / true).mean(axis=1), (right, true, right))

    champion, not_worse, best = model("first"), 0, -1.0
    for night in range(365):
        challenger = model(f"night {night}")
        found = decide(challenger, champion, classes=["road", "sign"], images=scenes, scenes=scenes, resamples=100)
        assert found.outcome != "promote", found.reason
        not_worse, best = not_worse + (challenger.miou.mean() >= best), max(best, float(challenger.miou.mean()))
    assert not_worse > 2  # as often a rule that takes what is not worse would have had another
    assert decide(model("better", 0.06), champion, classes=["road", "sign"], images=scenes, scenes=scenes).outcome == "promote"
