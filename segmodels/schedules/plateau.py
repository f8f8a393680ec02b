"""A fall whenever the validation mIoU has stopped rising."""

from segmodels.errors import ParamsError
from segmodels.schedules._moment import Moment, Schedule


def build(*, patience: int = 5, factor: float = 0.3, min_gain: float = 0.0, floor: float = 0.001) -> Schedule:
    """Told from all scores so far, as torch's ReduceLROnPlateau would have been, one by one.

    Args:
        patience: epochs without a gain that are borne with; the rate falls after the next one.
        factor: what it falls by.
        min_gain: what the mIoU must rise by to count.
        floor: the share of the rate that is always left.
    """
    if not (0 < factor < 1 and patience >= 0 and 0 <= floor <= 1):
        raise ParamsError(
            f"schedules.plateau: factor is {factor}, patience {patience}, floor {floor}; expected a factor between 0 and 1, a patience of 0 "
            f"or more, and a floor from 0 to 1"
        )

    def schedule(moment: Moment) -> float:
        best, waited, left = float("-inf"), 0, 1.0
        for score in moment.scores:
            waited += 1
            if score > best + min_gain:
                best, waited = score, 0
            if waited > patience:
                left, waited = max(left * factor, floor), 0
        return left

    return schedule
