"""What is shown now, the same to all who look: the last comparison, and what MLflow has; read again when it may have changed."""

from contextlib import suppress
from pathlib import Path
from threading import Lock

from segmodels import compared, params, records
from segmodels.compared import Folders
from segmodels.dashboard.evaluated import Evaluated
from segmodels.dashboard.fresh import Fresh
from segmodels.project import COMPARED, EVALUATED, FACTS, PARAMS, PREPARED, REPORTS

FRESH_S = 5
"""How old what MLflow said may be when somebody asks."""
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
            now = folders()
            found = Evaluated(now.prepared, now.evaluated, now.reports)
            _known.clear()
            _known[stamp] = found
        return _known[stamp]


def folders() -> Folders:
    """Where the last comparison lies: as it was kept, unless a later one has not been kept yet."""
    is_kept = COMPARED.is_dir() and stamp_of(COMPARED) >= stamp_of(REPORTS / "leaderboard.json")
    return compared.kept(COMPARED) if is_kept else Folders(PREPARED, EVALUATED, REPORTS, FACTS)


def stamp_of(path: Path) -> float:
    """When a file or folder was last changed; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def project() -> str:
    """What this folder's models are called in the registry."""
    return params.read(PARAMS).project


retrains = Fresh(records.retrains, FRESH_S)
candidate_runs = Fresh(records.candidate_runs, FRESH_S)
versions = Fresh(records.versions, FRESH_S)


def warm() -> None:
    """Read all of it, so that who looks first need not wait; what is wrong is told to whoever looks."""
    with suppress(Exception):
        evaluated()
    with suppress(Exception):
        for read in (retrains, candidate_runs, versions):
            read(project())
