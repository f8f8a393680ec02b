"""Where the pages read from, once for all who look: asked again when it may have changed."""

import json
from datetime import datetime
from typing import Any

import streamlit as st

from segmodels import params, records
from segmodels.dashboard.current import stamp_of
from segmodels.project import PARAMS, PROGRESS
from segmodels.records import CandidateRun, Prepared, Retrain, Version

FRESH_S = 15
"""How old what MLflow said may be."""


def project() -> str:
    return params.read(PARAMS).project


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
        if stamp_of(path) < since.timestamp():
            continue
        try:
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # it ended as we looked
            continue
    return found
