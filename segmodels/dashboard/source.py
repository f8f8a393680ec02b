"""What the pages read of single runs and versions, kept while it is asked for."""

import json
from datetime import datetime
from typing import Any

import streamlit as st

from segmodels import records, versions
from segmodels.dashboard.current import stamp_of
from segmodels.project import PROGRESS
from segmodels.records import Prepared


@st.cache_data(ttl=3600, max_entries=200, show_spinner=False)
def _report(run_id: str, path: str) -> dict[str, Any] | None:
    return records.report(run_id, path)


def report(run_id: str, path: str) -> dict[str, Any] | None:
    """A JSON file of a retraining, which does not change once it is there."""
    found: dict[str, Any] | None = _report(run_id, path)
    if found is None:
        _report.clear(run_id, path)
    return found


@st.cache_data(ttl=3600, max_entries=8, show_spinner=False)
def prepared(run_id: str) -> Prepared | None:
    """The version of the dataset that a retraining was the first on, which does not change."""
    return records.prepared(run_id)


@st.cache_data(ttl=3600, max_entries=200, show_spinner=False)
def shares(run_id: str) -> tuple[int, dict[str, float | None]] | None:
    """How many images that version has, and each class's share of their known pixels."""
    found = records.prepared(run_id)
    return None if found is None else (len(found.manifest), versions.shares(found.manifest, found.class_names))


@st.cache_data(ttl=3600, max_entries=32, show_spinner=False)
def card(name: str, version: int) -> str | None:
    """The model card of a version, which does not change."""
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
