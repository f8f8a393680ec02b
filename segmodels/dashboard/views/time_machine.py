"""One test image as each champion sees it, from the first to the present one; a part of the page of retrainings."""

from collections.abc import Sequence

import streamlit as st

from segmodels.dashboard import current, shown, trying
from segmodels.errors import InputError
from segmodels.records import CHAMPION, Version

IMAGES = 50
"""That are offered: those that the present candidate is worst at."""
SHOWN_PX = 480


def show(project: str, versions: Sequence[Version]) -> None:
    st.subheader("Time machine")
    champions = {one.version: one for one in versions if one.outcome == "promote" or CHAMPION in one.aliases}
    try:
        evaluated = current.evaluated()
    except InputError:
        champions = {}
    if not champions:
        st.caption("Once there are champions and test images, one of the images is shown here as each of the champions sees it.")
        return
    st.caption("A test image as each version that was champion sees it, in the colours of its own classes.")
    worst = evaluated.worst(evaluated.leaderboard["chosen"]).head(IMAGES)
    names = {int(row): str(name) for row, name in zip(worst["row"], worst["id"], strict=True)}
    numbers = sorted(champions)
    now = next((place for place, number in enumerate(numbers) if CHAMPION in champions[number].aliases), len(numbers) - 1)
    left, right = st.columns([1, 2])
    row = shown.choose("Image", list(names), told=names.__getitem__, key="seen", place=left)
    number = shown.choose("Version", numbers, default=now, key="by", place=right, slides=len(numbers) > 1)
    explained = "Each version that was not asked yet takes some seconds."
    if not st.toggle("Predict", help=explained, key="machine", bind="query-params"):
        return
    try:
        with st.spinner("the version predicts; the first time takes some seconds"):
            overlay = trying.of_test_images(champions[number], {row: evaluated.store.image(row)})[row]
    except InputError as error:
        st.error(shown.text(str(error)))
        return
    first, second = st.columns(2, gap="large")
    first.image(evaluated.picture(row), caption=shown.text(names[row]), width=SHOWN_PX)
    second.image(overlay, caption=f"version {number}", width=SHOWN_PX)
