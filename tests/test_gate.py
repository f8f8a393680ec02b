"""The gate on cases worked by hand: what it decides, and what it says."""

from typing import Any

import numpy as np
import pytest

from segmodels import gate, receipt
from segmodels.gate import Scored

CLASSES = ["road", "sign"]
PIXELS = 1000
"""Of each class in each image."""


def scored(name: str, *ious: np.ndarray) -> Scored:
    """A model with this IoU of each class in each image: what it predicts of a class is all right, and of the rest it says nothing."""
    iou = np.stack(ious, axis=1)
    right = np.round(iou * PIXELS).astype(np.int64)
    return Scored(name, iou.mean(axis=1), (right, np.full_like(right, PIXELS), right))


def drawn(mean: float, images: int, seed: int, spread: float = 0.06) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).normal(mean, spread, images), 0, 1)


def decided(challenger: Scored, champion: Scored, **more: Any) -> gate.Verdict:
    names = [str(number) for number in range(len(challenger.miou))]
    settings: dict[str, Any] = {"classes": CLASSES, "scenes": names, "images": names, "resamples": 1000}
    return gate.decide(challenger, champion, **settings | more)


@pytest.fixture
def champion() -> Scored:
    return scored("champion", drawn(0.7, 300, 1), drawn(0.5, 300, 2))


def raised(champion: Scored, *by: float, seed: int = 3) -> Scored:
    """A challenger whose classes are better by so much, give or take."""
    right, true, _ = champion.counts
    rng = np.random.default_rng(seed)
    ious = [right[:, k] / true[:, k] + rng.normal(one, 0.04, len(right)) for k, one in enumerate(by)]
    return scored("challenger", *(np.clip(one, 0, 1) for one in ious))


def lowered(champion: Scored, by: float, *, where: np.ndarray) -> Scored:
    right, true, _ = champion.counts
    return scored("challenger", *np.where(where[:, None], np.clip(right / true - by, 0, 1), np.clip(right / true + 0.05, 0, 1)).T)


def test_better_is_promoted(champion: Scored) -> None:
    found = decided(raised(champion, 0.05, 0.05), champion)
    assert found.outcome == "promote"
    assert found.gain is not None and found.gain.difference == pytest.approx(0.05, abs=0.01)
    assert found.gain.low > 0.03
    assert "challenger is better than champion: +5" in found.reason


def test_worse_and_equal_are_not(champion: Scored) -> None:
    worse = decided(champion, raised(champion, 0.05, 0.05))
    assert (worse.outcome, worse.reason[:29]) == ("keep", "champion is no better than ch")
    equal = decided(champion, champion)
    assert equal.outcome == "keep"
    assert equal.times == pytest.approx(0)


def test_what_moved_is_put_down_to_the_data_or_to_the_model() -> None:
    # what is right of a class is what is predicted of it, so that over images of equal size its IoU is the mean
    champion = scored("champion", np.array([0.8, 0.8, 0.4, 0.4]), np.array([0.6, 0.6, 0.6, 0.6]))
    challenger = scored("challenger", np.array([0.9, 0.9, 0.9, 0.9]), np.array([0.5, 0.5, 0.5, 0.5]))
    before = scored("champion", np.array([0.8, 0.8]), np.array([0.6, 0.6]))
    found = decided(challenger, champion, before=before)
    values: list[Any] = [(one.what, one.before, one.now, one.challenger) for one in found.movements]
    assert values == [
        ("mIoU", pytest.approx(0.7), pytest.approx(0.6), pytest.approx(0.7)),  # (0.8 + 0.6) / 2, (0.6 + 0.6) / 2, (0.9 + 0.5) / 2
        ("road", pytest.approx(0.8), pytest.approx(0.6), pytest.approx(0.9)),
        ("sign", pytest.approx(0.6), pytest.approx(0.6), pytest.approx(0.5)),
    ]
    told = receipt.markdown(found, project="p", version="2", champion="1")
    assert "| road | 0.8000 | 0.6000 | -20.00 | 0.9000 | +30.00 |" in told
    assert decided(challenger, champion).movements == ()  # nothing has changed
    # a class that no image showed before
    right, true, predicted = before.counts
    true[:, 1] = right[:, 1] = predicted[:, 1] = 0
    assert [one.before for one in gate.movements(challenger, champion, CLASSES, before)] == [
        pytest.approx(0.8),
        pytest.approx(0.8),
        None,
    ]


def test_the_images_that_lost_most_are_named() -> None:
    # "d" shows nothing, and the challenger alone sees something there
    champion, challenger = np.array([0.9, 0.5, 0.8, np.nan]), np.array([0.8, 0.9, 0.5, 0.0])
    found = gate.regressions(challenger, champion, ["a|", "b", "c", "d"])
    assert found == [
        gate.Regression("d", champion=1.0, challenger=0.0),
        gate.Regression("c", champion=0.8, challenger=0.5),
        gate.Regression("a|", champion=0.9, challenger=0.8),
    ]
    scores = scored("champion", champion[:3], champion[:3]), scored("challenger", challenger[:3], challenger[:3])
    verdict = decided(scores[1], scores[0], images=["a|", "b", "c"], scenes=["a", "b", "c"])
    assert "| a/ | 0.9000 | 0.8000 | -10.00 |" in receipt.markdown(verdict, project="p", version="2", champion="1")
    images = gate.WORST + 3
    assert len(gate.regressions(np.zeros(images), np.ones(images), [str(number) for number in range(images)])) == gate.WORST


def test_a_class_that_collapses_is_no_promotion(champion: Scored) -> None:
    found = decided(raised(champion, 0.2, 0.0), champion)
    assert found.outcome == "promote"
    right, true, _ = champion.counts
    collapsed = scored(
        "challenger", np.clip(right[:, 0] / true[:, 0] + 0.25, 0, 1), np.clip(right[:, 1] / true[:, 1] - 0.05, 0, 1)
    )
    found = decided(collapsed, champion)
    assert found.gain is not None and found.gain.difference > 0.05
    assert (found.outcome, "sign may have lost 5.0 points (more than 2)" in found.reason) == ("keep", True), found.reason


def test_few_images_are_inconclusive_and_it_says_what_they_could_show() -> None:
    champion = scored("champion", drawn(0.7, 12, 1), drawn(0.5, 12, 2))
    found = decided(raised(champion, 0.05, 0.05), champion)
    # at most 1.95 ** 12 = 3,023 times as much, less than 7,300
    assert (found.outcome, found.detectable) == ("inconclusive", None)
    assert "12 independent parts of the test images can show no gain at all" in found.reason
    assert "7,300 to 1 is needed" in found.reason


def test_some_more_images_say_how_great_a_gain_they_show(champion: Scored) -> None:
    found = decided(raised(champion, 0.005, 0.005), champion)
    assert found.outcome == "inconclusive"
    assert found.detectable is not None and 0.005 < found.detectable < 0.03
    assert "can show only gains of" in found.reason


def test_disasters_that_the_mean_hides_are_no_promotion(champion: Scored) -> None:
    where = np.arange(300) < 9
    found = decided(lowered(champion, 0.3, where=where), champion)
    assert found.gain is not None and found.gain.difference > 0.03
    assert (found.worse, found.better) == (9, 0)
    assert (found.outcome, "it fails badly in 9 parts and shines in 0" in found.reason) == ("keep", True)


def test_a_slice_that_lost_is_no_promotion(champion: Scored) -> None:
    night = np.arange(300) < 40
    found = decided(lowered(champion, 0.1, where=night), champion, slices={"night": night, "day": ~night})
    assert [one.what for one in found.slices] == ["night", "day"]
    assert (found.outcome, "night may have lost 10.0 points" in found.reason) == ("keep", True), found.reason


def test_a_slice_that_shows_nothing_and_one_of_few_scenes_say_nothing(champion: Scored) -> None:
    right, true, predicted = (kind.copy() for kind in champion.counts)
    for kind in (right, true, predicted):
        kind[:20] = 0
    champion = Scored("champion", champion.miou, (right, true, predicted))
    empty, few = np.arange(300) < 20, np.arange(300) >= 295
    assert decided(champion, champion, slices={"empty": empty, "few": few, "the rest": ~empty}).slices[0].what == "the rest"


def test_little_losses_cannot_add_up(champion: Scored) -> None:
    best = raised(champion, 0.08, 0.08)
    found = decided(raised(champion, 0.05, 0.05), champion, best=best)
    assert found.anchor is not None and found.anchor.difference == pytest.approx(-0.03, abs=0.01)
    assert (found.outcome, "worse than the best champion ever (more than 0.5)" in found.reason) == ("keep", True)


def test_images_of_a_scene_are_one_piece_of_evidence() -> None:
    champion = scored("champion", drawn(0.7, 300, 1), drawn(0.5, 300, 2))
    challenger = raised(champion, 0.05, 0.05)
    of_ten = decided(challenger, champion, scenes=[f"scene {number % 10}" for number in range(300)])
    # 1.95 ** 10 is less than what is needed: ten drives prove nothing, however many images each has; and five prove less
    assert (of_ten.clusters, of_ten.outcome) == (10, "inconclusive")
    of_five = decided(challenger, champion, scenes=[str(number % 5) for number in range(300)])
    assert (of_five.clusters, of_five.outcome) == (5, "inconclusive")


def test_a_slice_may_be_a_scene(champion: Scored) -> None:
    """One drive of thirty has lost 15 points: too little to be a tail, and one piece of evidence alone."""
    drives = np.arange(300) // 10
    found = decided(
        lowered(champion, 0.15, where=drives == 7),
        champion,
        scenes=[f"drive {number}" for number in drives],
        slices={"drive 7": drives == 7, "drive 8": drives == 8},
        rules=gate.Rules(false_promotions_per_year=30),  # the evidence is 17 to 1
    )
    assert (found.worse, [one.what for one in found.slices]) == (0, ["drive 7", "drive 8"])
    assert (found.outcome, "drive 7 may have lost" in found.reason) == ("keep", True), found.reason


def test_what_many_small_images_hide_is_no_promotion() -> None:
    """Evidence is of images, whatever their size; the score that people see is of pixels."""
    champion = scored("champion", np.full(300, 0.7), np.full(300, 0.5))
    small = np.arange(300) < 270
    challenger = scored(
        "challenger", *(np.where(small, iou + 0.04, iou - 0.015) for iou in (np.full(300, 0.7), np.full(300, 0.5)))
    )
    weight = np.where(small, 1, 100)[:, None]
    sized = [
        Scored(one.name, one.miou, (one.counts[0] * weight, one.counts[1] * weight, one.counts[2] * weight))
        for one in (challenger, champion)
    ]
    found = decided(*sized)
    assert found.times > found.times_needed
    assert (found.outcome, found.reason[:34]) == ("keep", "challenger is no better than champ")


def test_test_images_without_any_class_decide_nothing() -> None:
    nothing = np.zeros((9, 2), np.int64)
    empty = Scored("empty", np.full(9, np.nan), (nothing, nothing, nothing))
    assert decided(empty, empty).outcome == "inconclusive"


def test_a_loss_is_told_where_evidence_is_missing_too() -> None:
    champion = scored("champion", drawn(0.7, 60, 1), drawn(0.5, 60, 2))
    right, true, _ = champion.counts
    challenger = scored(
        "challenger", np.clip(right[:, 0] / true[:, 0] - 0.15, 0, 1), np.clip(right[:, 1] / true[:, 1] + 0.16, 0, 1)
    )
    found = decided(challenger, champion)
    assert (found.outcome, "road may have lost" in found.reason) == ("inconclusive", True), found.reason


def test_where_nothing_is_and_nothing_is_predicted_it_is_right() -> None:
    nan = np.nan
    found = gate.by_cluster(np.array([nan, nan, 0.0, 0.5]), np.array([nan, 0.0, nan, 0.5]), ["a", "b", "c", "d"])
    assert found.tolist() == [1.0, -1.0, 0.0]
