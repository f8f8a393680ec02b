"""Where a candidate fails: its worst images, the classes that it confuses, and the kinds of images that it is worse at."""

import pandas as pd
import streamlit as st

from segmodels.dashboard import current, shown, viewer
from segmodels.dashboard.evaluated import Evaluated
from segmodels.dashboard.views.compare import clicked_pair
from segmodels.objects import SIZES_PX

BY = {"group": "scene", "size": "image size"}
SIZES = ", ".join(f"{name}: {'the rest' if limit is None else f'below {limit:,} pixels'}" for name, limit in SIZES_PX.items())


def show() -> None:
    shown.page(
        "Failures", "Where a candidate fails: its worst images, what it confuses, and which kinds of images it is worse at."
    )
    evaluated = shown.or_said(current.evaluated)
    chosen = evaluated.names.index(evaluated.leaderboard["chosen"])
    name = st.selectbox("Candidate", evaluated.names, index=chosen, key="candidate", bind="query-params")
    worst = evaluated.worst(name)
    if not evaluated.overlap:
        _confused(evaluated, name)
    _images(evaluated, name, worst)
    _slices(evaluated, name)


def _confused(evaluated: Evaluated, name: str) -> None:
    st.subheader("Most confused")
    left, right = st.columns(2, gap="large")
    with left:
        pair = clicked_pair(evaluated, name)
    with right:
        pairs = evaluated.confused(name)
        columns = {
            "truth": "true class",
            "predicted": "taken for",
            "num_pixels": "pixels",
            "share": st.column_config.NumberColumn("of it", format="percent"),
            "num_images": "images",
        }
        picked = shown.table(
            pairs, columns, alt="pairs of classes that are confused", key="pairs", on_select="rerun", selection_mode="single-row"
        )
        st.caption("Choose a row, or click a cell, to go through its images below.")
    rows = picked["selection"]["rows"]
    if rows:
        chosen = pairs.iloc[rows[0]]
        pair = evaluated.class_names.index(chosen["truth"]), evaluated.class_names.index(chosen["predicted"])
    st.session_state["confused pair"] = pair


def _images(evaluated: Evaluated, name: str, worst: pd.DataFrame) -> None:
    pair = st.session_state.get("confused pair")
    if pair is None:
        st.subheader("Worst images")
        notes = [f"mIoU {one.miou:.3f}, most wrong: {one.most_wrong}" for one in worst.head(viewer.MOST).itertuples()]
        images = worst
    else:
        truth, predicted = (evaluated.class_names[index] for index in pair)
        st.subheader("Images of what was chosen")
        st.caption(f"{shown.text(truth)} taken for {shown.text(predicted)}, most pixels first")
        images = evaluated.showing(name, *pair)
        notes = [f"{count} pixels" for count in images["num_pixels"].head(viewer.MOST)]
    viewer.show(evaluated, images, viewer.of_one(name), notes=notes, order=f"{name} {pair}", key="image")
    with st.expander("All images as a table"):
        columns = {
            "row": None,
            "id": "image",
            "miou": shown.score("mIoU"),
            "wrong_pixels": "wrong pixels",
            "most_wrong": "most wrong class",
        }
        shown.table(worst, columns, alt="every test image, the worst first", key="worst", lazy=True)


def _slices(evaluated: Evaluated, name: str) -> None:
    scores = evaluated.scores(name)
    rows = [
        {"kind": BY.get(by, by), "part": one["name"], **{key: one[key] for key in ("miou", "boundary_iou", "num_images")}}
        for by, found in scores["slices"].items()
        for one in found
    ]
    st.subheader("By kind of image")
    if not rows:
        st.caption("All test images are of one size, and no scenes are known.")
    else:
        columns = {"miou": shown.score("mIoU"), "boundary_iou": shown.score("boundary IoU"), "num_images": "images"}
        ordered = pd.DataFrame(rows).sort_values("miou", ignore_index=True)
        shown.table(ordered, columns, alt="scores by kind of image, the worst first", key="slices")
    st.subheader("By size of object")
    st.caption("How much of an object is found on average: small ones are what a mean over pixels hides.")
    objects = pd.DataFrame(scores["objects"])
    if objects.empty:
        st.caption("There are no objects in the test images.")
        return
    columns = {
        "size": st.column_config.TextColumn("size", help=SIZES),
        "num_objects": "objects",
        "recall": st.column_config.ProgressColumn("found of one", format="percent", min_value=0, max_value=1),
    }
    shown.table(objects.sort_values("recall", ignore_index=True), columns, alt="how much of objects is found", key="objects")
