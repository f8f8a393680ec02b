"""The same factor every epoch, spread evenly over its steps."""

from segmodels.schedules._moment import Moment, Schedule


def build(*, gamma: float = 0.95) -> Schedule:
    """`gamma` is the factor of one epoch."""

    def schedule(moment: Moment) -> float:
        return float(gamma ** (moment.step / moment.steps_an_epoch))

    return schedule
