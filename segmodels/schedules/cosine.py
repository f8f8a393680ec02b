"""Half a cosine from the rate down to a share of it (SGDR without restarts, arXiv:1608.03983)."""

import math

from segmodels.schedules._moment import Moment, Schedule


def build(*, final: float = 0.0) -> Schedule:
    """`final` is the share of the rate that is left at the end."""

    def schedule(moment: Moment) -> float:
        return final + (1 - final) * (1 + math.cos(math.pi * moment.step / moment.total_steps)) / 2

    return schedule
