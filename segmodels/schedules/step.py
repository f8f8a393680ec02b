"""A fall at each milestone."""

from collections.abc import Sequence

from segmodels.errors import ParamsError
from segmodels.schedules._moment import Moment, Schedule


def build(*, milestones: Sequence[float] = (0.6, 0.85), factor: float = 0.1) -> Schedule:
    """`milestones` are shares of the training (after its warm-up), at each of which the rate falls by `factor`."""
    if not all(0 < one < 1 for one in milestones):
        raise ParamsError(f"schedules.step: milestones are {list(milestones)}; expected shares of the training between 0 and 1")
    if not 0 < factor < 1:
        raise ParamsError(f"schedules.step: factor is {factor}; expected more than 0 and less than 1")

    def schedule(moment: Moment) -> float:
        return float(factor ** sum(moment.step >= one * moment.total_steps for one in milestones))

    return schedule
