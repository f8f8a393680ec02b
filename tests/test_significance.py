"""Intervals, differences and p-values: by hand where that can be done, against chance where it cannot."""

import numpy as np
import pytest

from segmodels import significance
from segmodels.compare import choose, front
from segmodels.significance import Counts, Difference


def one_class(right: np.ndarray, truth: np.ndarray) -> Counts:
    """Counts of a class of which everything that is predicted is right: IoU is the share found."""
    return right[:, None], truth[:, None], right[:, None]


def test_whole_scenes_are_drawn() -> None:
    # two scenes of 50 equal images each: IoU is 0.9, 0.5 or 0.1 with chances 1/4, 1/2, 1/4
    counts = {"x": one_class(np.repeat([90, 10], 50), np.full(100, 100))}
    drawn = significance.drawn_mious(counts, ["a"] * 50 + ["b"] * 50, seed=0, resamples=10_000)["x"]
    assert sorted(set(np.round(drawn, 6))) == [0.1, 0.5, 0.9]
    assert np.mean(drawn == np.median(drawn)) == pytest.approx(0.5, abs=0.02)
    alone = significance.drawn_mious(counts, [str(n) for n in range(100)], seed=0, resamples=10_000)["x"]
    assert alone.std() == pytest.approx(0.04, abs=0.002)  # sqrt(0.25 * 0.8 ** 2 / 100)


def test_a_draw_of_images_that_show_nothing_has_no_score() -> None:
    """Of overlapping classes an image may rightly have none."""
    counts = np.array([4, *[0] * 9])
    units = [str(n) for n in range(10)]
    drawn = significance.drawn_mious({"x": one_class(counts, counts)}, units, seed=0, resamples=10_000)["x"]
    assert np.isnan(drawn).mean() == pytest.approx(0.9**10, abs=0.02)  # a draw misses the one image
    assert set(drawn[~np.isnan(drawn)]) == {1.0}
    assert significance.interval(drawn) == (1.0, 1.0)


def test_what_two_candidates_share_cancels_out() -> None:
    """Images are very unlike each other, and the second candidate finds one pixel in a hundred less in every one."""
    rng = np.random.default_rng(0)
    found = rng.integers(100, 900, 60)
    truth = np.full(60, 1000)
    counts = {"a": one_class(found, truth), "b": one_class(found - 10, truth)}
    mious = {"b": found.mean() / 1000 - 0.01, "a": found.mean() / 1000}
    weighed = significance.weigh(mious, counts, [str(n) for n in range(60)], seed=0)
    low, high = weighed.intervals["a"]
    assert high - low > 0.05  # wider by far than what they differ in
    [difference] = weighed.differences
    assert (difference.first, difference.second) == ("a", "b")
    assert difference.low == pytest.approx(0.01) and difference.high == pytest.approx(0.01)
    assert difference.p == pytest.approx(1 / 10_001) and difference.is_significant


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_of_a_few_images_nothing_can_be_told_from_chance(count: int) -> None:
    """All favour one: of the 2 ** n ways to swap them that happens in two."""
    truth = np.full(count, 1000)
    counts = {"a": one_class(truth - 100, truth), "b": one_class(truth - 200, truth)}
    weighed = significance.weigh({"a": 0.9, "b": 0.8}, counts, ["one scene"] * count, seed=0)
    assert weighed.differences[0].p == pytest.approx(2 / 2**count, abs=0.02)
    assert (weighed.drawn, weighed.num_drawn, weighed.num_scenes) == ("images", count, 1)


def test_scenes_are_drawn_where_there_are_enough() -> None:
    truth = np.full(60, 1000)
    counts = {"a": one_class(truth - 100, truth), "b": one_class(truth - 200, truth)}
    mious = {"a": 0.9, "b": 0.8}
    weighed = significance.weigh(mious, counts, [str(n % 6) for n in range(60)], seed=0)
    assert (weighed.drawn, weighed.num_drawn, weighed.num_scenes) == ("scenes", 6, 6)
    assert weighed.differences[0].p == pytest.approx(2 / 2**6, abs=0.006)
    few = significance.weigh(mious, counts, [str(n % 5) for n in range(60)], seed=0)
    assert (few.drawn, few.num_drawn, few.num_scenes) == ("images", 60, 5)


def test_a_rare_class_that_a_draw_misses_counts_for_nobody_in_it() -> None:
    """One image has the second class: one candidate finds most of it, with a false pixel elsewhere; the other never says it."""
    true = np.tile([1000, 0], (30, 1))
    true[0] = [900, 100]
    finds = np.tile([800, 0], (30, 1)), true, np.tile([800, 1], (30, 1))
    finds[0][0], finds[2][0] = [800, 90], [800, 91]
    never = np.tile([790, 0], (30, 1)), true, np.tile([790, 0], (30, 1))
    weighed = significance.weigh(
        {"finds": 0.7, "never": 0.4}, {"finds": finds, "never": never}, [str(n) for n in range(30)], seed=0
    )
    [difference] = weighed.differences
    assert difference.low > 0


def test_candidates_of_one_kind_are_not_compared_with_each_other() -> None:
    rng = np.random.default_rng(0)
    truth = np.full(40, 1000)
    counts = {name: one_class(rng.integers(400, 900, 40), truth) for name in "abcd"}
    mious = {name: float(three[0].mean() / 1000) for name, three in counts.items()}
    weighed = significance.weigh(mious, counts, [str(n) for n in range(40)], same_but_for_the_seed=["abc"], seed=0)
    assert {frozenset((one.first, one.second)) for one in weighed.differences} == {frozenset((one, "d")) for one in "abc"}


def test_of_many_candidates_those_that_differ_are_still_told() -> None:
    truth = np.full(40, 1000)
    names = [f"c{n:02}" for n in range(30)]
    counts = {name: one_class(truth - 20 * n, truth) for n, name in enumerate(names)}
    mious = {name: 1 - 0.02 * n for n, name in enumerate(names)}
    weighed = significance.weigh(mious, counts, [str(n) for n in range(40)], seed=0, resamples=1000)
    # the best twelve with each other, and the other eighteen with the best
    assert len(weighed.differences) == 66 + 18 and all(one.is_significant for one in weighed.differences)
    assert {(one.first, one.second) for one in weighed.differences if one.second >= "c12"} == {
        ("c00", f"c{n}") for n in range(12, 30)
    }


def test_who_is_compared_where_there_are_many_is_chosen_by_other_images() -> None:
    truth = np.full(40, 1000)
    names = [f"c{n:02}" for n in range(14)]
    counts = {name: one_class(truth - 20 * n, truth) for n, name in enumerate(names)}
    mious = {name: 1 - 0.02 * n for n, name in enumerate(names)}
    elsewhere = {name: 0.02 * n for n, name in enumerate(names)}  # the other way round
    weighed = significance.weigh(mious, counts, [str(n) for n in range(40)], elsewhere=elsewhere, seed=0, resamples=100)
    assert {frozenset((one.first, one.second)) for one in weighed.differences if "c00" in (one.first, one.second)} == {
        frozenset(("c13", "c00"))  # the last but the best is compared with the first alone
    }
    assert all(one.first < one.second for one in weighed.differences)  # and the better one on these comes first


def test_holm_by_hand() -> None:
    # smallest first: 3 * 0.01, 2 * 0.04, and 1 * 0.05, which is raised to what came before
    assert significance.holm([0.04, 0.01, 0.05]) == pytest.approx([0.08, 0.03, 0.08])
    assert significance.holm([0.5, 0.9]) == [1.0, 1.0]
    assert significance.holm([]) == []


@pytest.mark.parametrize(("scenes", "each"), [(40, 1), (8, 5)])
def test_equal_candidates_differ_by_chance_as_rarely_as_promised(scenes: int, each: int) -> None:
    """400 pairs of equal candidates, each better in scenes of its own: one in twenty may be called different."""
    rng = np.random.default_rng(1)
    groups = [str(n % scenes) for n in range(scenes * each)]
    truth = np.full(len(groups), 1000)
    false = 0
    for seed in range(400):
        counts = {name: one_class(np.tile(rng.binomial(1000, rng.beta(8, 2, scenes)), each), truth) for name in ("a", "b")}
        false += significance.swapped_p(counts["a"], counts["b"], groups, seed=seed, resamples=500) < significance.LEVEL
    assert false <= 34  # of 400 at 5 %: 20 expected, 35 or more in one of a thousand runs


def entry(name: str, miou: float, latency_ms: float, millions: float) -> dict[str, object]:
    return {
        "name": name,
        "miou": 0.5,
        "validation_miou": miou,
        "latency_ms": latency_ms,
        "num_parameters": millions * 1e6,
        "size_mb": 4 * millions,
        "device": "cpu",
    }


@pytest.mark.parametrize(
    ("p", "chosen"),
    [
        ({"large": 0.01, "small": 0.01}, "best"),  # better than both by more than chance
        ({"large": 0.3, "small": 0.01}, "best"),  # what is no worse is slower
        ({"large": 0.3, "small": 0.3}, "small"),
    ],
)
def test_the_cheapest_of_the_best_is_put_forward(p: dict[str, float], chosen: str) -> None:
    ranked = [entry("best", 0.8, 20, 15), entry("large", 0.79, 40, 60), entry("small", 0.78, 5, 3)]
    name, reason = choose(ranked, [Difference("best", other, 0.01, -0.01, 0.03, value) for other, value in p.items()])
    assert name == chosen and reason.startswith(chosen)


def test_test_images_choose_none_of_those_that_cost_the_same() -> None:
    ranked = [entry("best on test", 0.7, 10, 3) | {"miou": 0.9}, entry("best on validation", 0.8, 10, 3) | {"miou": 0.8}]
    assert choose(ranked, [])[0] == "best on validation"


def test_of_those_as_fast_the_one_with_fewer_parameters_is_put_forward() -> None:
    ranked = [entry("best", 0.8, 10.0, 15), entry("lean", 0.79, 10.9, 3), entry("slow", 0.78, 11.1, 1)]
    differences = [Difference("best", other, 0.01, -0.01, 0.03, 0.5) for other in ("lean", "slow")]
    assert choose(ranked, differences)[0] == "lean"


def test_what_another_beats_is_not_put_forward_though_the_best_does_not_beat_it() -> None:
    ranked = [entry("best", 0.8, 20, 15), entry("mid", 0.79, 10, 9), entry("cheap", 0.78, 5, 3)]
    p = {("best", "mid"): 0.5, ("best", "cheap"): 0.2, ("mid", "cheap"): 0.001}
    name, reason = choose(ranked, [Difference(*pair, 0.01, -0.01, 0.03, value) for pair, value in p.items()])
    assert name == "mid" and "cheap" not in reason


def test_times_of_different_devices_are_not_compared() -> None:
    ranked = [entry("lean", 0.8, 30, 3), entry("wide", 0.79, 3, 15) | {"device": "cuda"}]
    assert choose(ranked, [Difference("lean", "wide", 0.01, -0.01, 0.03, 0.5)])[0] == "lean"


def test_no_other_beats_those_of_the_front_in_both() -> None:
    names = ("slow and good", "fast and bad", "beaten", "as good as beaten, and faster", "as fast as that, and worse")
    figures = ((40.0, 0.9), (5.0, 0.6), (30.0, 0.7), (20.0, 0.7), (20.0, 0.65))
    candidates = [{"name": name, "latency_ms": ms, "miou": miou} for name, (ms, miou) in zip(names, figures, strict=True)]
    assert front(candidates, "latency_ms") == ["fast and bad", "as good as beaten, and faster", "slow and good"]
