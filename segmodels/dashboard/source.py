"""Where the pages read from, once for all who look: asked again when it may have changed."""

import json
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

import streamlit as st

from segmodels import compared, params, records
from segmodels.dashboard.evaluated import Evaluated
from segmodels.project import COMPARED, EVALUATED, PARAMS, PREPARED, PROGRESS, REPORTS
from segmodels.records import CandidateRun, Prepared, Retrain, Version

FRESH_S = 15
"""How old what MLflow said may be."""
_lock = Lock()
_known: dict[tuple[float, ...], Evaluated] = {}


def project() -> str:
    return params.read(PARAMS).project


def evaluated() -> Evaluated:
    """The last comparison: as it was kept, for while a retraining makes another what lies in the project belongs to no one.

    Raises:
        InputError: there is none.
    """
    with _lock:
        stamp = tuple(_stamp(path) for path in (REPORTS / "leaderboard.json", PREPARED / "manifest.parquet", COMPARED))
        if stamp not in _known:
            is_kept = COMPARED.is_dir() and _stamp(COMPARED) >= _stamp(REPORTS / "leaderboard.json")
            found = Evaluated(*(compared.folders(COMPARED) if is_kept else (PREPARED, EVALUATED, REPORTS)))
            _known.clear()
            _known[stamp] = found
        return _known[stamp]


def _stamp(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


@st.cache_data(ttl=FRESH_S, show_spinner=False)
def retrains(name: str) -> list[Retrain]:
    return records.retrains(name)


@st.cache_data(ttl=FRESH_S, show_spinner=False)
def candidate_runs(name: str) -> list[CandidateRun]:
    return records.candidate_runs(name)


@st.cache_data(ttl=FRESH_S, show_spinner=False)
def versions(name: str) -> list[Version]:
    return records.versions(name)


@st.cache_data(ttl=3600, max_entries=200, show_spinner=False)
def report(run_id: str, path: str) -> dict[str, Any] | None:
    """A JSON file of a run that has ended, which does not change."""
    return records.report(run_id, path)


@st.cache_data(ttl=3600, max_entries=8, show_spinner=False)
def prepared(run_id: str) -> Prepared | None:
    return records.prepared(run_id)


@st.cache_data(ttl=3600, max_entries=32, show_spinner=False)
def card(name: str, version: int) -> str | None:
    return records.card(name, version)


def live(since: datetime) -> dict[str, dict[str, float]]:
    """How far the trainings are that have told since then, by candidate: epoch, epochs, val_miou, train_loss, seconds_left."""
    found = {}
    for path in sorted(PROGRESS.glob("*.json")) if PROGRESS.is_dir() else []:
        if _stamp(path) < since.timestamp():
            continue
        try:
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # it ended as we looked
            continue
    return found
