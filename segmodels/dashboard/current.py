"""The comparison that is shown now, the same to all who look: read again when another was made."""

from pathlib import Path
from threading import Lock

from segmodels import compared
from segmodels.dashboard.evaluated import Evaluated
from segmodels.project import COMPARED, EVALUATED, PREPARED, REPORTS

_lock = Lock()
_known: dict[tuple[float, ...], Evaluated] = {}


def evaluated() -> Evaluated:
    """The last comparison: as it was kept, for while a retraining makes another what lies in the project belongs to no one.

    Raises:
        InputError: there is none.
    """
    with _lock:
        stamp = tuple(stamp_of(path) for path in (REPORTS / "leaderboard.json", PREPARED / "manifest.parquet", COMPARED))
        if stamp not in _known:
            is_kept = COMPARED.is_dir() and stamp_of(COMPARED) >= stamp_of(REPORTS / "leaderboard.json")
            found = Evaluated(*(compared.folders(COMPARED) if is_kept else (PREPARED, EVALUATED, REPORTS)))
            _known.clear()
            _known[stamp] = found
        return _known[stamp]


def stamp_of(path: Path) -> float:
    """When a file or folder was last changed; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
