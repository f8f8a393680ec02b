"""Learning rates, against torch's own schedulers where it has them."""

import math
from collections.abc import Callable

import pytest
import torch
from torch.optim import SGD, Optimizer, lr_scheduler

from segmodels import catalog
from segmodels.errors import ParamsError
from segmodels.learning_rate import warmed_up
from segmodels.schedules._moment import Moment

STEPS, STEPS_AN_EPOCH = 40, 4


def factors(name: str, **options: object) -> list[float]:
    schedule = catalog.build("schedules", name, options=options)
    return [schedule(Moment(step, STEPS, STEPS_AN_EPOCH, [])) for step in range(STEPS)]


def torchs(build: Callable[[Optimizer], lr_scheduler.LRScheduler]) -> list[float]:
    optimizer = SGD([torch.zeros(1)], lr=1.0)
    scheduler, found = build(optimizer), []
    for _ in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_they_agree_with_torch() -> None:
    expected = {
        "poly": torchs(lambda o: lr_scheduler.PolynomialLR(o, total_iters=STEPS, power=2.0)),
        "cosine": torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.1)),
        "exponential": torchs(lambda o: lr_scheduler.ExponentialLR(o, 0.9 ** (1 / STEPS_AN_EPOCH))),
        "step": torchs(lambda o: lr_scheduler.MultiStepLR(o, [20, 30], gamma=0.2)),
    }
    options: dict[str, dict[str, object]] = {
        "poly": {"power": 2.0},
        "cosine": {"final": 0.1},
        "exponential": {"gamma": 0.9},
        "step": {"milestones": [0.5, 0.75], "factor": 0.2},
    }
    for name, rates in expected.items():
        assert factors(name, **options[name]) == pytest.approx(rates), name


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_a_plateau_is_found_as_torch_finds_it(patience: int) -> None:
    scores = [0.1, 0.2, 0.2, 0.19, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.31, 0.1, 0.1, 0.1, 0.1, 0.1]
    optimizer = SGD([torch.zeros(1)], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, "max", factor=0.5, patience=patience, threshold=0, min_lr=0.1)
    schedule = catalog.build("schedules", "plateau", options={"patience": patience, "factor": 0.5, "floor": 0.1})
    for done, score in enumerate(scores, start=1):
        scheduler.step(score)
        assert schedule(Moment(0, 1, 1, scores[:done])) == pytest.approx(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("name", catalog.names("schedules"))
def test_a_warm_up_rises_to_the_schedule_s_beginning(name: str) -> None:
    schedule = warmed_up(catalog.build("schedules", name), epochs=1)
    found = [schedule(Moment(step, STEPS, STEPS_AN_EPOCH, [])) for step in range(STEPS)]
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])  # 4 steps an epoch, then the schedule's own first
    plain = catalog.build("schedules", name)
    rest = [plain(Moment(step, STEPS - 4, STEPS_AN_EPOCH, [])) for step in range(STEPS - 4)]
    assert found[4:] == pytest.approx(rest)


def test_epochs_of_warm_up_are_no_plateau() -> None:
    plateau = catalog.build("schedules", "plateau", options={"patience": 1, "factor": 0.5})
    schedule = warmed_up(plateau, epochs=2.5)  # its last epoch is not counted either
    flat = [0.1] * 6
    assert [schedule(Moment(4 * done, 100, 4, flat[:done])) for done in (3, 4, 5)] == [1, 1, 1]
    assert schedule(Moment(4 * 6, 100, 4, flat)) == 0.5  # the first of three is the best, two are not borne with


def test_poly_by_hand() -> None:
    schedule = catalog.build("schedules", "poly", options={"power": 2.0})
    # (1 - step / 4) ** 2
    assert [schedule(Moment(step, 4, 1, [])) for step in range(4)] == pytest.approx([1, 0.5625, 0.25, 0.0625])


def test_no_warm_up_changes_nothing() -> None:
    schedule = warmed_up(catalog.build("schedules", "cosine"), epochs=0)
    assert schedule(Moment(10, 40, 4, [])) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


def test_a_gain_too_small_is_none() -> None:
    schedule = catalog.build("schedules", "plateau", options={"patience": 1, "factor": 0.5, "min_gain": 0.1})
    rising = [0.2, 0.25, 0.28, 0.29]  # never 0.1 above 0.2: the third falls, and so would the fifth
    assert [schedule(Moment(0, STEPS, STEPS_AN_EPOCH, rising[:n])) for n in range(5)] == [1.0, 1.0, 1.0, 0.5, 0.5]


def test_a_warm_up_may_be_part_of_an_epoch_and_is_never_all_there_is() -> None:
    def rates(epochs: float, total: int) -> list[float]:
        schedule = warmed_up(lambda moment: 1.0 if moment.step < moment.total_steps else math.nan, epochs)
        return [schedule(Moment(step, total, STEPS_AN_EPOCH, [])) for step in range(total)]

    assert rates(0.5, 4) == [1 / 3, 2 / 3, 1.0, 1.0]  # half of four steps
    assert rates(100, 4) == [1 / 4, 2 / 4, 3 / 4, 1.0]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("poly", {"power": -1}),
        ("exponential", {"gamma": 1.5}),
        ("exponential", {"gamma": -0.5}),
        ("plateau", {"factor": 3}),
        ("plateau", {"patience": -1}),
        ("step", {"factor": 0}),
        ("step", {"milestones": [1.5]}),
    ],
)
def test_options_with_which_the_rate_would_rise_or_vanish_are_refused(name: str, options: dict[str, object]) -> None:
    with pytest.raises(ParamsError, match=rf"schedules.{name}: .*; expected"):
        catalog.build("schedules", name, options=options)
