"""What the retraining system did: what started each retraining, how long its stages took, what was decided and why; and what runs now."""

from datetime import timedelta
from typing import Any

import pandas as pd
import streamlit as st

from segmodels.dashboard import charts, current, receipts, shown, source
from segmodels.dashboard.views import time_machine
from segmodels.receipt import told
from segmodels.records import Retrain, Version
from segmodels.tracking import STAGES

REFRESH_S = 3


def show() -> None:
    shown.page("Retrains", "What started each retraining, how long it took, what was decided about its best candidate, and why.")
    project = current.project()
    found = current.retrains(project)
    if not found:
        st.info("Nothing was retrained yet; run `make retrain`, or `make demo` for a first look.", icon=":material/info:")
        return
    _running(project)
    versions = current.versions(project)
    st.subheader("Every retraining")
    shown.chart(charts.timeline(found), "retrainings", "when each retraining began, by what started it, and what came out")
    chosen = _listed(found)
    if chosen is not None:
        _one(chosen)
    _champions(versions)
    time_machine.show(project, versions)


@st.fragment(run_every=REFRESH_S)
def _running(project: str) -> None:
    """What runs now, refreshed by itself."""
    [newest] = current.retrains(project)[:1]
    if newest.status != "RUNNING":  # an earlier one that is said to run was killed before it could say that it has ended
        return
    st.subheader("Running now")
    st.caption(f"Since {shown.when(newest.began)}, started {shown.text(newest.started)}. This part refreshes itself.")
    live = source.live(newest.began)
    if not live:
        st.caption("No training is between its first epoch and its last.")
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
            "began": [charts.local(one.began) for one in found],
            "started": [one.started for one in found],
            "took": [shown.lasted(one.seconds) for one in found],
            "outcome": [one.outcome for one in found],
            "reason": [one.reason for one in found],
            "dataset": [one.dataset[:12] for one in found],
            "run": [one.run_id for one in found],
            "page": [one.page for one in found],
        }
    )
    columns = {
        "began": st.column_config.DatetimeColumn("began", format="YYYY-MM-DD HH:mm"),
        "started": "started",
        "run": st.column_config.TextColumn("MLflow's run"),
        "page": shown.link("in MLflow") if found[0].page else None,
    }
    ids = [one.run_id for one in found]

    def row_chosen() -> None:
        at = st.session_state["retrainings"]["selection"]["rows"]
        if at and at[0] < len(ids):
            st.query_params["run"] = ids[at[0]]

    shown.table(
        rows,
        columns,
        alt="every retraining, the newest first",
        key="retrainings",
        on_select=row_chosen,
        selection_mode="single-row",
    )
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
                [{"stage": name, "why it was due": one["why"], "seconds": one["seconds"]} for name, one in stages.items()]
            )
            columns = {"seconds": st.column_config.NumberColumn(format="%.1f")}
            shown.table(why, columns, alt="why each stage was due", key="stages")
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
    if receipt["regressions"]:
        st.caption("The images that lost most")
        lost = pd.DataFrame(receipt["regressions"])
        columns = {"champion": shown.score("champion's mIoU"), "challenger": shown.score("its own")}
        shown.table(lost, columns, alt="the images that lost most", key="regressions")
    if receipt["data"] is not None:
        st.caption(f"The dataset, since the champion was trained: {told(receipt['data'])}.")
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
            "registered": [charts.local(one.registered) for one in versions],
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
