"""Labels that may be wrong although they can be read: of another image, shifted, or never drawn. For people to look at; none is refused."""

from collections.abc import Sequence
from dataclasses import dataclass

FIT = 3.5
"""Borders that fit their image less than that (see alignment.py) are told. Of CamVid's 701 masks 0.4 % do, of those of other images 98 %, and
of such as were shifted by 6 % of the image's longer side all; of shifts of 3 % two to seven in ten."""
RARE = 0.1
"""Masks of a single class are told where no more than this share of them is: elsewhere empty images are usual."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """What is known of one sample's labels: how well they fit the image, None where they have no borders; how many classes it shows."""

    id: str
    fit: float | None
    num_classes: int


@dataclass(frozen=True)
class Suspect:
    """One to look at: of a single class where `fit` is None, else one whose borders do not lie on the image's edges."""

    id: str
    fit: float | None

    def __str__(self) -> str:
        if self.fit is None:
            return f"{self.id}: all of one class, where nearly all others show several"
        return f"{self.id}: its borders do not lie on the image's edges (fit {self.fit:.1f}, usual are more than {FIT})"


def find(labelled: Sequence[Labelled]) -> list[Suspect]:
    """Those whose labels may be wrong, the worst first."""
    misfits = sorted((one.fit, one.id) for one in labelled if one.fit is not None and one.fit < FIT)
    uniform = sorted(one.id for one in labelled if one.fit is None and one.num_classes <= 1)
    rare = len(uniform) <= RARE * len(labelled)
    return [
        *(Suspect(name, None) for name in uniform if rare),
        *(Suspect(name, fit) for fit, name in misfits),
    ]
