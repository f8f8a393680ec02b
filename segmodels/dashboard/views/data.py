"""The dataset: its versions, what each class has of it, what was added and relabelled, what leaks, and what training sees."""

import json
from pathlib import Path

import pandas as pd
import streamlit as st

from segmodels import versions
from segmodels.dashboard import charts, current, shown, source, viewer
from segmodels.dashboard.evaluated import Evaluated
from segmodels.project import AUGMENTED, FACTS, PREPARED
from segmodels.records import Prepared, Retrain

SPLITS = {"train": "training", "val": "validation", "test": "test", "vault": "vault"}
LISTED = 500


def show() -> None:
    shown.page("Data", "What the models learn from: versions over time, class shares, what changed, what leaks.")
    project = shown.or_said(current.project)
    if not (PREPARED / "dataset.json").is_file():
        st.info("No dataset was prepared yet; run `make retrain`, or `make demo` for a first look.", icon=":material/info:")
        return
    _now()
    _over_time(shown.or_said(lambda: current.retrains(project)))
    _leaks()
    _samples()
    _augmented()


def _now() -> None:
    census = json.loads((FACTS / "census.json").read_text(encoding="utf-8"))
    st.subheader("Now")
    with st.grid(4):
        for split, count in census["num_images"].items():
            st.metric(f"{SPLITS[split]} images".capitalize(), f"{count:,}", help=f"of {census['num_groups'][split]:,} scenes")
    shown.chart(charts.shares(census), "class-shares", "each class's share of the pixels, by split")
    st.caption("Shares of the pixels whose class is known, on a logarithmic axis: what is rare is what matters.")


def _over_time(retrains: list[Retrain]) -> None:
    """Versions as the retrainings have noted them, and the difference between two."""
    st.subheader("Versions")
    noted = [one for one in retrains if one.manifest is not None]
    if len(noted) < 2:
        st.caption("There is one version so far; label more, `make data`, `make retrain`, and what changed is shown here.")
        return
    found = {one.run_id: one for one in noted}
    shown.chart(charts.versions(_shares(noted)), "versions", "each class's share of the pixels, version by version")
    left, right = st.columns(2)
    ids = list(found)
    before = left.selectbox("From", ids, index=1, format_func=lambda one: _called(found[one]), key="from", bind="query-params")
    after = right.selectbox("To", ids, index=0, format_func=lambda one: _called(found[one]), key="to", bind="query-params")
    old, new = source.prepared(before), source.prepared(after)
    if old is None or new is None:
        st.warning("The records of one of them are gone; choose another.")
        return
    difference = versions.compare(old.manifest, new.manifest, (old.class_names, new.class_names))
    with st.grid(5):
        for label, ids_ in (("Added", difference.added), ("Removed", difference.removed), ("Relabelled", difference.relabelled)):
            st.metric(label, f"{len(ids_):,}")
        st.metric("Renamed", f"{len(difference.renamed):,}")
        st.metric(
            "Left the test set", f"{len(difference.left_test):,}", help="Then scores before and after are not of the same images."
        )
    listed = [
        {"what": what, "image": name}
        for what, names in (("added", difference.added), ("removed", difference.removed), ("relabelled", difference.relabelled))
        for name in names
    ]
    if listed:
        shown.table(pd.DataFrame(listed), {}, alt="images that were added, removed or relabelled", key="changed", lazy=True)
    moved = [{"class": one.name, "before": one.before, "after": one.after} for one in difference.classes]
    columns = {key: st.column_config.NumberColumn(f"share {key}", format="percent") for key in ("before", "after")}
    shown.table(pd.DataFrame(moved), columns, alt="class shares before and after", key="moved")


def _called(one: Retrain) -> str:
    return f"{shown.when(one.began)} ({one.dataset[:12]})"


def _shares(noted: list[Retrain]) -> pd.DataFrame:
    rows = []
    for one in reversed(noted[:50]):
        version: Prepared | None = source.prepared(one.run_id)
        if version is not None:
            found = versions.shares(version.manifest, version.class_names)
            rows += [
                {"began": one.began, "class": name, "share": share, "images": len(version.manifest)}
                for name, share in found.items()
            ]
    return pd.DataFrame(rows)


def _leaks() -> None:
    st.subheader("Leaks and doubtful labels")
    leaks = json.loads((PREPARED / "leaks.json").read_text(encoding="utf-8"))
    if leaks:
        st.warning(f"{len(leaks)} things are on two sides of the splits: a score on such a test set is too good.")
        rows = [{"what": one["what"], "kind": one["kind"], "in": " and ".join(one["splits"])} for one in leaks]
        shown.table(pd.DataFrame(rows), {}, alt="what is on two sides of the splits", key="leaks")
    else:
        st.caption("Nothing is on two sides of the splits: no scene, no image, none that looks the same.")
    doubtful = json.loads((FACTS / "suspects.json").read_text(encoding="utf-8"))
    if doubtful:
        st.warning(f"{len(doubtful)} labels may be wrong; `{FACTS / 'suspects.png'}` shows them.")
        shown.table(pd.DataFrame(doubtful), {}, alt="labels that may be wrong", key="doubtful")
    else:
        st.caption("No label looks wrong.")


def _samples() -> None:
    st.subheader("Test images with their labels")
    try:
        evaluated: Evaluated = current.evaluated()
    except ValueError:
        st.caption("They are shown once candidates were compared.")
        return
    images = evaluated.test_images()
    viewer.show(
        evaluated,
        images,
        [viewer.Pane("image", "picture"), viewer.Pane("truth", "truth")],
        notes=[""] * len(images),
        order="by name",
        key="image",
    )


def _augmented() -> None:
    st.subheader("What training sees")
    previews = sorted(AUGMENTED.glob("*/preview.png"))
    if not previews:
        st.caption("No recipe was compiled yet.")
        return
    for tab, path in zip(st.tabs([one.parent.name for one in previews]), previews, strict=True):
        with tab:
            st.image(Path(path).read_bytes(), caption="images and labels after augmentation, as they are trained on")
