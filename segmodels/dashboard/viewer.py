"""The viewer of masks, a component of Streamlit's: what it is given, and what it tells."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import streamlit as st
from streamlit.components.v2 import component

from segmodels.dashboard import files, palette
from segmodels.dashboard.evaluated import Evaluated
from segmodels.samples import IGNORE_INDEX

IMAGE = "image"
"""The parameter of the address that names the image."""
MOST = 500
"""Images that are given to it: who goes through more than that looks for another order of them."""
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Pane:
    """One of the pictures beside each other."""

    title: str
    kind: Literal["picture", "truth", "prediction", "errors"]
    candidate: str | None = None


def of_one(candidate: str) -> list[Pane]:
    """An image with what one candidate makes of it."""
    return [
        Pane("image", "picture"),
        Pane("truth", "truth"),
        Pane(candidate, "prediction", candidate),
        Pane("errors", "errors", candidate),
    ]


def of_two(one: str, other: str) -> list[Pane]:
    """An image with what two candidates make of it."""
    return [
        Pane("image", "picture"),
        Pane(one, "prediction", one),
        Pane(f"errors of {one}", "errors", one),
        Pane("truth", "truth"),
        Pane(other, "prediction", other),
        Pane(f"errors of {other}", "errors", other),
    ]


@st.fragment
def show(
    evaluated: Evaluated, images: pd.DataFrame, panes: Sequence[Pane], *, notes: Sequence[str], order: str, name: str
) -> None:
    """The images of a table (`row`, `id`) in its order, beginning with the one in the address; the address follows.

    Args:
        notes: what is written beside each image's name.
        order: names the order: where it is another than before, its first image is shown.
        name: of the page.
    """
    rows = [int(row) for row in images["row"].head(MOST)]
    if not rows:
        st.info("There is no image to show here.")
        return
    colors = palette.of_classes(len(evaluated.class_names))
    if st.session_state.setdefault(f"order of {name}", order) != order:
        st.session_state[f"order of {name}"] = order
        st.query_params.pop(IMAGE, None)
    asked = st.query_params.get(IMAGE, "")
    row = int(asked) if asked.isdecimal() and int(asked) in rows else rows[0]

    def moved() -> None:
        st.query_params[IMAGE] = str(st.session_state[f"viewer of {name}"]["row"])

    data: dict[str, Any] = {
        "base": "",
        "images": [
            {"row": one, "name": str(called), "note": note, "step": files.step(*evaluated.size(one))}
            for one, called, note in zip(rows, images["id"], notes, strict=False)
        ],
        "order": order,
        "row": row,
        "panes": [asdict(pane) for pane in panes],
        "classes": [{"name": called, "color": list(color)} for called, color in zip(evaluated.class_names, colors, strict=True)],
        "overlap": evaluated.overlap,
        "part": 0,
        "version": evaluated.version,
        "void": IGNORE_INDEX,
    }
    _mounted()(data=data, default={"row": row}, key=f"viewer of {name}", on_row_change=moved)
    st.caption("J and K: next and previous image. Click into a picture, then the wheel zooms; drag to move; 0 shows all of it.")


@st.cache_resource
def _mounted() -> Any:
    return component(
        "segmodels_viewer",
        html='<div class="viewer"></div>',
        css=(_HERE / "viewer.css").read_text(encoding="utf-8"),
        js=(_HERE / "viewer.js").read_text(encoding="utf-8"),
    )
