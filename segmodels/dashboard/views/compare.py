"""Two candidates beside each other: what flipped between them, and on which images."""

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from segmodels.dashboard import charts, current, shown, viewer
from segmodels.dashboard.evaluated import Evaluated
from segmodels.dashboard.views import confused

ORDERS = {"apart": "differ most", "won": "A better", "lost": "B better"}


def show() -> None:
    shown.page("Compare", "Two candidates on the same test images: what one wins and the other loses.")
    evaluated = current.evaluated()
    names = evaluated.names
    if len(names) < 2:
        st.info("There is only one candidate; add another to `candidates` in params.yaml and run `make retrain`.")
        return
    left, right = st.columns(2)
    one = shown.choose("A", names, key="a", place=left)
    other = shown.choose("B", names, default=1, key="b", place=right)
    if one == other:
        st.info("These are the same; choose another for A or for B.")
        return
    flips = evaluated.flips(one, other)
    _gain(evaluated, one, other, flips)
    _images(evaluated, one, other, flips)
    _training(evaluated, one, other)
    _confusion(evaluated, one, other)


def _gain(evaluated: Evaluated, one: str, other: str, flips: pd.DataFrame) -> None:
    gain, by_class = _changes(evaluated.version, evaluated, one, other)
    won, lost = int((flips["difference"] > 0.005).sum()), int((flips["difference"] < -0.005).sum())
    with st.grid(4):
        st.metric(
            "A less B, points of mIoU",
            f"{100 * gain.difference:+.2f}",
            help=f"95 % interval {100 * gain.low:+.2f} to {100 * gain.high:+.2f}, over all pixels of the classes that the test images show",
        )
        certain = "yes" if gain.low > 0 or gain.high < 0 else "no"
        st.metric(
            "More than chance",
            certain,
            help="Whether the 95 % interval leaves 0 out; the leaderboard corrects for many comparisons.",
        )
        st.metric("Images A wins", won, help="by more than half a point of the image's own mIoU")
        st.metric("Images B wins", lost)
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.subheader("Classes won and lost")
        figure = charts.changes(gain, by_class, one, other)
        shown.chart(figure, "classes-won-and-lost", "what A gains over B in each class, with intervals")
        st.caption("Blue: A is better by more than chance. Vermilion: B is. Gray: chance would do.")
    with right:
        st.subheader("Images won and lost")
        shown.chart(
            charts.differences(flips["difference"].tolist(), one, other),
            "images-won-and-lost",
            "how many images are how much better",
        )


@st.cache_data(max_entries=32, show_spinner="drawing intervals")
def _changes(version: str, _evaluated: Evaluated, one: str, other: str):  # type: ignore[no-untyped-def]
    return _evaluated.changes(one, other)


def _images(evaluated: Evaluated, one: str, other: str, flips: pd.DataFrame) -> None:
    st.subheader("Image by image")
    order = st.segmented_control(
        "Order", list(ORDERS), default="apart", format_func=ORDERS.__getitem__, key="order", bind="query-params"
    )
    if order == "won":
        flips = flips.sort_values("difference", ascending=False, ignore_index=True, kind="stable")
    elif order == "lost":
        flips = flips.sort_values("difference", ignore_index=True, kind="stable")
    notes = [
        f"A {a:.3f}, B {b:.3f}" for a, b in zip(flips["one"].head(viewer.MOST), flips["other"].head(viewer.MOST), strict=True)
    ]
    viewer.show(evaluated, flips, viewer.of_two(one, other), notes=notes, order=f"{order} {one} {other}", name="compare")
    with st.expander("All images as a table"):
        columns = {
            "row": None,
            "id": "image",
            "one": shown.score("A", f"mIoU of this image by {one}"),
            "other": shown.score("B", f"mIoU of this image by {other}"),
            "difference": shown.score("A less B"),
        }
        shown.table(flips, columns, alt="every test image with the mIoU of both", key="flips", lazy=True)


def _training(evaluated: Evaluated, one: str, other: str) -> None:
    st.subheader("How they were trained")
    logs = {name: evaluated.training(name) for name in (one, other)}
    left, right = st.columns(2, gap="large")
    for place, key, label in ((left, "val_miou", "validation mIoU"), (right, "train_loss", "training loss")):
        lines = {name: [(epoch["epoch"], epoch[key]) for epoch in log["epochs"]] for name, log in logs.items()}
        with place:
            shown.chart(charts.curves(lines, label), key.replace("_", "-"), f"{label} by epoch")
    flat = [_flat(log["params"]) for log in logs.values()]
    keys = [key for key in dict.fromkeys([*flat[0], *flat[1]]) if flat[0].get(key) != flat[1].get(key)]
    if not keys:
        st.caption("Their params are the same.")
        return
    rows = pd.DataFrame({"param": keys, "A": [flat[0].get(key, "") for key in keys], "B": [flat[1].get(key, "") for key in keys]})
    st.caption("Params in which they differ")
    shown.table(rows, {}, alt="params in which the two differ", key="params")


def _flat(params: Mapping[str, object], before: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = str(value)
    return found


def _confusion(evaluated: Evaluated, one: str, other: str) -> None:
    if evaluated.overlap:
        return
    st.subheader("What is taken for what")
    st.caption("Shares of a true class's pixels, row by row. Click a cell to see its images.")
    left, right = st.columns(2, gap="large")
    for place, name, key in ((left, one, "pair_a"), (right, other, "pair_b")):
        with place:
            st.markdown(f"**{shown.text(name)}**")
            confused.show(evaluated, name, key=key)
            pair = confused.chosen(evaluated, key)
            if pair is not None:
                showing = evaluated.showing(name, *pair)
                st.caption(f"{confused.told(evaluated, pair)} in {len(showing)} images, most pixels first")
                columns = {"row": None, "id": "image", "num_pixels": "pixels"}
                shown.table(showing[["id", "num_pixels", "row"]], columns, alt="images of this cell", key=f"cell {name}")
