"""The dataset: its versions, what each class has of it, what was added and relabelled, what leaks, and what training sees."""

import json
from pathlib import Path

import pandas as pd
import streamlit as st

from segmodels import versions
from segmodels.compared import Folders
from segmodels.dashboard import charts, current, shown, source, viewer
from segmodels.dashboard.evaluated import SEEN, Evaluated
from segmodels.project import AUGMENTED, FACTS
from segmodels.records import Retrain

VERSIONS = 50
"""That are drawn, the latest."""
SPLITS = {"train": "training", "val": "validation", "test": "test", "vault": "vault"}


def show() -> None:
    shown.page("Data", "What the models learn from: versions over time, class shares, what changed, what leaks.")
    project = current.project()
    folders = current.folders()
    if not (folders.facts / "census.json").is_file():
        st.info("No dataset was prepared yet; run `make retrain`, or `make demo` for a first look.", icon=":material/info:")
        return
    _now(folders.facts)
    _over_time(shown.or_warned(lambda: current.retrains(project), []))
    _leaks(folders)
    _samples()
    _augmented()


def _now(facts: Path) -> None:
    census = json.loads((facts / "census.json").read_text(encoding="utf-8"))
    st.subheader("Now")
    with st.grid(4):
        for split, count in census["num_images"].items():
            st.metric(f"{SPLITS[split]} images".capitalize(), f"{count:,}", help=f"in {census['num_groups'][split]:,} groups")
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
    before = shown.choose("From", ids, default=1, told=lambda one: _called(found[one]), key="from", place=left)
    after = shown.choose("To", ids, told=lambda one: _called(found[one]), key="to", place=right)
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
    for one in reversed(noted[:VERSIONS]):
        found = source.shares(one.run_id)
        if found is not None:
            images, shares = found
            rows += [
                {"began": charts.local(one.began), "class": name, "share": share, "images": images}
                for name, share in shares.items()
            ]
    return pd.DataFrame(rows, columns=["began", "class", "share", "images"])


def _leaks(folders: Folders) -> None:
    st.subheader("Leaks and doubtful labels")
    leaks = json.loads((folders.prepared / "leaks.json").read_text(encoding="utf-8"))
    if leaks:
        st.warning(f"{len(leaks)} things are on two sides of the splits: a score on such a test set is too good.")
        rows = [{"what": one["what"], "kind": one["kind"], "in": " and ".join(one["splits"])} for one in leaks]
        shown.table(pd.DataFrame(rows), {}, alt="what is on two sides of the splits", key="leaks")
    else:
        st.caption("Nothing is on two sides of the splits: no scene, no image, none that looks the same.")
    doubtful = json.loads((folders.facts / "suspects.json").read_text(encoding="utf-8"))
    if doubtful:
        st.warning(f"{len(doubtful)} labels may be wrong; `{FACTS / 'suspects.png'}` shows them.")
        shown.table(pd.DataFrame(doubtful), {}, alt="labels that may be wrong", key="doubtful")
    else:
        st.caption("No label looks wrong.")


def _samples() -> None:
    st.subheader("Images with their labels")
    try:
        evaluated: Evaluated = current.evaluated()
    except ValueError:
        st.caption("They are shown once candidates were compared.")
        return
    split = shown.choose("Split", list(SEEN), told=lambda one: SPLITS[one], key="split")
    images = evaluated.images_of(split)
    viewer.show(
        evaluated,
        images,
        [viewer.Pane("image", "picture"), viewer.Pane("truth", "truth")],
        notes=[""] * len(images),
        order=f"{split} by name",
        name="data",
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
