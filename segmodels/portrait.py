"""What a prepared dataset holds, and which of its labels may be wrong, as JSON and as pictures: for people, nothing is trained from it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from segmodels import atomic, census, pictures
from segmodels.images import colored, overlay, shown
from segmodels.store import Store
from segmodels.suspects import Suspect

SUSPECTS_TOLD, SUSPECTS_DRAWN = 5, 24


def draw(prepared: Store, doubtful: Sequence[Suspect], folder: Path, *, notice: Callable[[str], None]) -> None:
    """Write `census.json`, `census.png`, `suspects.json` and, if there are any, `suspects.png`, whole or not at all.

    Args:
        notice: told the most doubtful labels.
    """
    counted = census.count(prepared)
    with atomic.folder(folder) as partial:
        atomic.write_json(partial / "census.json", counted.to_dict())
        pictures.census(partial / "census.png", counted)
        atomic.write_json(partial / "suspects.json", [asdict(one) for one in doubtful])
        if doubtful:
            _draw_suspects(prepared, doubtful[:SUSPECTS_DRAWN], partial / "suspects.png")
    for one in doubtful[:SUSPECTS_TOLD]:
        notice(f"label to look at: {one}")
    if doubtful:
        notice(f"{len(doubtful)} labels may be wrong; {folder}/suspects.png shows them, suspects.json lists all")


def _draw_suspects(prepared: Store, doubtful: Sequence[Suspect], path: Path) -> None:
    row_of = {str(name): row for row, name in enumerate(prepared.manifest["id"])}
    cells = []
    for one in doubtful:
        image, labelling = shown(prepared.image(row_of[one.id])), prepared.labelling(row_of[one.id])
        cells.append([image, colored(labelling, prepared.classes), overlay(image, labelling, prepared.classes)])
    names = [f"{one.id}\n{'one class' if one.fit is None else f'fit {one.fit:.1f}'}" for one in doubtful]
    pictures.sheet(path, cells, titles=["image", "labels", "both"], names=names, classes=prepared.classes)
