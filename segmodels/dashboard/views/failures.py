"""Where a candidate fails: its worst images, the classes that it confuses, and the kinds of images that it is worse at."""

import pandas as pd
import streamlit as st

from segmodels.dashboard import current, shown, viewer
from segmodels.dashboard.evaluated import Evaluated
from segmodels.dashboard.views import confused
from segmodels.objects import SIZES_PX

BY = {"group": "group", "size": "image size"}
PAIR = "pair"
SIZES = ", ".join(f"{name}: {'the rest' if limit is None else f'below {limit:,} pixels'}" for name, limit in SIZES_PX.items())


def show() -> None:
    shown.page(
        "Failures", "Where a candidate fails: its worst images, what it confuses, and which kinds of images it is worse at."
    )
    evaluated = current.evaluated()
    chosen = evaluated.names.index(evaluated.leaderboard["chosen"])
    name = shown.choose("Candidate", evaluated.names, default=chosen, key="candidate")
    pairs = pd.DataFrame() if evaluated.overlap else _confused(evaluated, name)
    _images(evaluated, name, confused.chosen(evaluated, PAIR) if len(pairs) else None)
    _slices(evaluated, name)


def _confused(evaluated: Evaluated, name: str) -> pd.DataFrame:
    """What is taken for what, most first. What was chosen last, a cell or a row, stands in the address."""
    st.subheader("Most confused")
    pairs = _pairs(evaluated.version, name, evaluated)
    listed = f"pairs of {name}"

    def row_chosen() -> None:
        rows = st.session_state[listed]["selection"]["rows"]
        truth, predicted = (pairs[key].map(evaluated.class_names.index).tolist() for key in ("truth", "predicted"))
        confused.choose(PAIR, (truth[rows[0]], predicted[rows[0]]) if rows else None)

    left, right = st.columns(2, gap="large")
    with left:
        confused.show(evaluated, name, key=PAIR)
    with right:
        columns = {
            "truth": "true class",
            "predicted": "taken for",
            "num_pixels": "pixels",
            "share": st.column_config.NumberColumn("of it", format="percent"),
            "num_images": "images",
        }
        shown.table(
            pairs,
            columns,
            alt="pairs of classes that are confused",
            key=listed,
            on_select=row_chosen,
            selection_mode="single-row",
        )
        st.caption("Choose a row, or click a cell, to go through its images below; choose it again for the worst of all.")
    return pairs


@st.cache_data(max_entries=16, show_spinner=False)
def _pairs(version: str, name: str, _evaluated: Evaluated) -> pd.DataFrame:
    return _evaluated.confused(name)


def _images(evaluated: Evaluated, name: str, pair: tuple[int, int] | None) -> None:
    worst = evaluated.worst(name)
    if pair is None:
        st.subheader("Worst images")
        notes = [f"mIoU {one.miou:.3f}, most wrong: {one.most_wrong}" for one in worst.head(viewer.MOST).itertuples()]
        images = worst
    else:
        st.subheader("Images of what was chosen")
        st.caption(f"{confused.told(evaluated, pair)}, most pixels first")
        images = evaluated.showing(name, *pair)
        notes = [f"{count} pixels" for count in images["num_pixels"].head(viewer.MOST)]
    viewer.show(evaluated, images, viewer.of_one(name), notes=notes, order=f"{name} {pair}", name="failures")
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
        st.caption("All test images are of one size, and no groups are known.")
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
