"""What the retraining system did: what started each retraining, how long its stages took, what was decided and why; and what runs now."""

from datetime import timedelta
from typing import Any

import pandas as pd
import streamlit as st

from segmodels.dashboard import charts, current, receipts, shown, source, trying
from segmodels.errors import InputError
from segmodels.records import Retrain, Version
from segmodels.tracking import STAGES

REFRESH_S = 3
MACHINE_IMAGES = 50
"""That the time machine offers."""
SHOWN_PX = 480


def show() -> None:
    shown.page("Retrains", "What started each retraining, how long it took, what was decided about its best candidate, and why.")
    project = shown.or_said(current.project)
    found = shown.or_said(lambda: current.retrains(project))
    if not found:
        st.info("Nothing was retrained yet; run `make retrain`, or `make demo` for a first look.", icon=":material/info:")
        return
    _running(project)
    versions = shown.or_said(lambda: current.versions(project))
    st.subheader("Every retraining")
    shown.chart(charts.timeline(found), "retrainings", "when each retraining began, by what started it, and what came out")
    chosen = _listed(found)
    if chosen is not None:
        _one(chosen)
    _champions(versions)
    _time_machine(versions)


@st.fragment(run_every=REFRESH_S)
def _running(project: str) -> None:
    """What runs now, refreshed by itself."""
    running = [one for one in shown.or_said(lambda: current.retrains(project)) if one.status == "RUNNING"]
    if not running:
        return
    st.subheader("Running now")
    st.caption(f"Since {shown.when(running[0].began)}, started {shown.text(running[0].started)}. This part refreshes itself.")
    live = source.live(running[0].began)
    if not live:
        st.caption("No training has come to the end of an epoch yet.")
    for name, now in live.items():
        left = timedelta(seconds=round(now["seconds_left"]))
        done = now["epoch"] / max(1, now["epochs"])
        told = (
            f"{shown.text(name)}: epoch {now['epoch']} of at most {now['epochs']}, loss {now['train_loss']:.4f}, validation mIoU "
            f"{now['val_miou']:.4f}, at most {left} left"
        )
        st.progress(min(1.0, done), text=told)


def _listed(found: list[Retrain]) -> Retrain | None:
    """All of them as a table; the one that was chosen, the newest at first."""
    rows = pd.DataFrame(
        {
            "began": [one.began for one in found],
            "started": [one.started for one in found],
            "took": [shown.lasted(one.seconds) for one in found],
            "outcome": [one.outcome for one in found],
            "reason": [one.reason for one in found],
            "dataset": [one.dataset[:12] for one in found],
            "run": [one.run_id for one in found],
        }
    )
    columns = {
        "began": st.column_config.DatetimeColumn("began", format="YYYY-MM-DD HH:mm"),
        "started": "started",
        "run": st.column_config.TextColumn("MLflow's run"),
    }
    ids = [one.run_id for one in found]
    picked = shown.table(
        rows, columns, alt="every retraining, the newest first", key="retrainings", on_select="rerun", selection_mode="single-row"
    )
    at = picked["selection"]["rows"]
    if at:
        st.query_params["run"] = ids[at[0]]
    asked = st.query_params.get("run", "")
    return found[ids.index(asked)] if asked in ids else next((one for one in found if one.verdict is not None), found[0])


def _one(chosen: Retrain) -> None:
    st.subheader(f"The one of {shown.when(chosen.began)}")
    st.markdown(
        f"Started {shown.text(chosen.started)}; **{shown.text(chosen.outcome)}**: {shown.text(chosen.reason or 'nothing was decided')}."
    )
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**How long its stages took**")
        stages = source.report(chosen.run_id, STAGES) or {}
        if stages:
            shown.chart(charts.stages(stages), "stages", "seconds of each stage")
            why = pd.DataFrame(
                [{"stage": name, "why it ran": one["why"], "seconds": one["seconds"]} for name, one in stages.items()]
            )
            columns = {"seconds": st.column_config.NumberColumn(format="%.1f")}
            shown.table(why, columns, alt="why each stage ran", key="stages")
        else:
            st.caption("Nothing of that is on record: no stage was due, or it did not come so far.")
    with right:
        st.markdown("**The promotion receipt**")
        receipt = source.report(chosen.run_id, "reports/promotion.json")
        if receipt is None:
            st.caption("There is none: nothing was decided.")
            return
        _receipt(receipt)


def _receipt(receipt: dict[str, Any]) -> None:
    against = "no champion" if receipt["champion"] is None else f"champion version {receipt['champion']}"
    st.markdown(f"Version {receipt['version']} against {against}: **{receipt['outcome']}**: {shown.text(receipt['reason'])}.")
    if receipt["gain"] is not None:
        changes = [receipt["gain"], *receipt["classes"], *receipt["slices"]]
        shown.chart(charts.receipt(changes), "receipt", "what the version gained over the champion, with 95 % intervals")
    st.download_button(
        "Save the receipt as HTML",
        receipts.html(receipt),
        file_name=f"receipt-version-{receipt['version']}.html",
        mime="text/html",
        icon=":material/download:",
        on_click="ignore",
    )


def _champions(versions: list[Version]) -> None:
    st.subheader("Versions of the registry")
    if not versions:
        st.caption("None was registered yet.")
        return
    rows = pd.DataFrame(
        {
            "version": [one.version for one in versions],
            "registered": [one.registered for one in versions],
            "candidate": [one.candidate for one in versions],
            "is": [", ".join(one.aliases) for one in versions],
            "decided": [one.outcome or "not decided" for one in versions],
            "reason": [one.reason or "" for one in versions],
            "instead of": [one.previous for one in versions],
            "rolled back": ["by a person" if one.rolled_back else "" for one in versions],
        }
    )
    columns = {"registered": st.column_config.DatetimeColumn("registered", format="YYYY-MM-DD HH:mm")}
    shown.table(rows, columns, alt="every version and what was decided about it", key="versions")
    st.caption("`make rollback VERSION=<n>` makes a version champion again.")


def _time_machine(versions: list[Version]) -> None:
    """One image through every champion."""
    st.subheader("Time machine")
    champions = {one.version: one for one in versions if one.outcome == "promote"}
    numbers = sorted(champions)
    try:
        evaluated = current.evaluated()
    except InputError:
        numbers = []
    if not numbers:
        st.caption("Once there are champions and test images, one of the images is shown here as each of the champions sees it.")
        return
    st.caption("A test image as each champion sees it, from the first to the present one.")
    worst = evaluated.worst(evaluated.leaderboard["chosen"]).head(MACHINE_IMAGES)
    left, right = st.columns([1, 2])
    rows = [int(row) for row in worst["row"]]
    names = dict(zip(rows, worst["id"], strict=True))
    row = left.selectbox("Image", rows, format_func=names.__getitem__, help="Those that the present candidate is worst at.")
    number = right.select_slider("Version", numbers, value=numbers[-1]) if len(numbers) > 1 else numbers[0]
    if not st.toggle(
        "Predict", help="Each champion that was not asked yet takes some seconds.", key="machine", bind="query-params"
    ):
        return
    try:
        overlay = _seen_by(champions[number].tags["segmodels.bundle_sha256"], evaluated.version, row, champions[number])
    except InputError as error:
        st.error(shown.text(str(error)))
        return
    first, second = st.columns(2, gap="large")
    first.image(evaluated.picture(row), caption=shown.text(str(names[row])), width=SHOWN_PX)
    second.image(overlay, caption=f"version {number}", width=SHOWN_PX)


@st.cache_data(max_entries=64, show_spinner="the version predicts; the first time takes some seconds")
def _seen_by(bundle_sha256: str, compared: str, row: int, _version: Version) -> bytes:
    return trying.of_test_images(_version, {row: current.evaluated().store.image(row)})[row]
