"""Polynomial decay to zero: rate x (1 - step / total) ^ power, as DeepLab trains (arXiv:1606.00915)."""

from segmodels.errors import ParamsError
from segmodels.schedules._moment import Moment, Schedule


def build(*, power: float = 0.9) -> Schedule:
    if power < 0:
        raise ParamsError(f"schedules.poly: power is {power}; expected 0 or more: below, the rate would rise")

    def schedule(moment: Moment) -> float:
        return float((1 - moment.step / moment.total_steps) ** power)

    return schedule
