"""Warm-up before any schedule."""

import math

from segmodels.schedules._moment import Moment, Schedule


def warmed_up(schedule: Schedule, epochs: float) -> Schedule:
    """Rise evenly to the full rate over the first epochs, then begin the schedule (arXiv:1706.02677)."""

    def of(moment: Moment) -> float:
        steps = min(round(epochs * moment.steps_an_epoch), moment.total_steps - 1)
        if moment.step < steps:
            return (moment.step + 1) / (steps + 1)
        # nothing gets better at a rate that has not risen yet: those epochs tell the schedule nothing
        scores = moment.scores[math.ceil(steps / moment.steps_an_epoch) :]
        return schedule(moment._replace(step=moment.step - steps, total_steps=moment.total_steps - steps, scores=scores))

    return of
