"""The same factor every epoch, spread evenly over its steps."""

from segmodels.errors import ParamsError
from segmodels.schedules._moment import Moment, Schedule


def build(*, gamma: float = 0.95) -> Schedule:
    """`gamma` is the factor of one epoch."""
    if not 0 < gamma <= 1:
        raise ParamsError(f"schedules.exponential: gamma is {gamma}; expected more than 0 and at most 1")

    def schedule(moment: Moment) -> float:
        return float(gamma ** (moment.step / moment.steps_an_epoch))

    return schedule
