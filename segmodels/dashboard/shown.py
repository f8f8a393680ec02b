"""What all pages have in common: how tables, charts and times look, and what is said where there is nothing to show."""

import functools
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from PIL import Image

from segmodels import tracking
from segmodels.dashboard import charts, palette
from segmodels.errors import InputError
from segmodels.records import CHAMPION, Version

MOST_DRAWN = 40
"""Candidates in a chart, the best: a table lists them all."""
T = TypeVar("T")
_SIGNS = re.compile(r"[\\`*_{}\[\]()#+\-.!|<>~$:&@]")


STYLE = """<style>
.stMainBlockContainer { padding-top: 3.5rem; padding-bottom: 3rem; }
.stMainBlockContainer h1 { font-size: 1.9rem; padding: 0.5rem 0 0; }
.stMainBlockContainer h3 { padding-top: 1rem; }
</style>"""


def icon() -> Image.Image:
    """A picture of a mask, for the browser's tab: a picture of Streamlit's would be fetched from elsewhere."""
    drawn = np.zeros((32, 32, 3), np.uint8)
    for place, color in enumerate(palette.of_classes(4)):
        drawn[16 * (place // 2) : 16 * (place // 2) + 16, 16 * (place % 2) : 16 * (place % 2) + 16] = color
    return Image.fromarray(drawn)


def page(title: str, explained: str) -> None:
    st.title(title)
    st.caption(explained)


def or_said(found: Callable[[], T]) -> T:
    """What a function finds; where it says that there is nothing yet, or MLflow does not answer, that is shown, and the page ends."""
    try:
        return found()
    except InputError as error:
        st.info(str(error), icon=":material/info:")
    except OSError as error:
        st.info(f"Something that is shown here was replaced as it was read; load the page again. ({text(str(error))})")
    except tracking.FAILURES as error:
        st.error(text(str(tracking.unusable(error))))
    st.stop()


def or_warned(found: Callable[[], T], instead: T) -> T:
    """What a function finds; where MLflow does not answer that is said, and the page goes on without it."""
    try:
        return found()
    except tracking.FAILURES as error:
        st.warning(text(str(tracking.unusable(error))))
        return instead


def whole(show: Callable[[], None]) -> Callable[[], None]:
    """A page that says what is wrong where something is, see `or_said`."""
    return functools.wraps(show)(lambda: or_said(show))


def choose(
    label: str,
    options: Sequence[T],
    *,
    key: str,
    default: int = 0,
    told: Callable[[T], str] = str,
    place: Any = st,
    help: str | None = None,
    slides: bool = False,
) -> T:
    """A choice that stands in the address by what it is, not by how it is told: the address brings back the same whatever is first by then."""
    asked = [str(one) for one in options]
    now = st.query_params.get(key)

    def changed() -> None:
        st.query_params[key] = str(st.session_state[f"choose {key}"])

    index = asked.index(now) if now in asked else default
    common = {"format_func": told, "key": f"choose {key}", "on_change": changed, "help": help}
    chosen: T = (
        place.select_slider(label, options, value=options[index], **common)
        if slides
        else place.selectbox(label, options, index=index, **common)
    )
    st.query_params[key] = str(chosen)
    return chosen


def chart(figure: go.Figure, name: str, alt: str, **keywords: Any) -> Any:
    """A chart whose button saves it under a name; `alt` says what it shows."""
    return st.plotly_chart(figure, config=charts.config(name), alt=alt, key=f"chart {name}", **keywords)


def table(rows: pd.DataFrame, columns: dict[str, Any], *, alt: str, **keywords: Any) -> Any:
    """A table that can be sorted, searched, and saved as CSV by its own button."""
    return st.dataframe(rows, column_config=columns, hide_index=True, alt=alt, **keywords)


def score(label: str, help: str | None = None) -> Any:
    return st.column_config.NumberColumn(label, format="%.4f", help=help)


def link(label: str) -> Any:
    """A column of addresses that are opened beside the page."""
    return st.column_config.LinkColumn(label, display_text="open")


def when(moment: datetime) -> str:
    return f"{charts.local(moment):%Y-%m-%d %H:%M}"


def lasted(seconds: float | None) -> str:
    return "runs" if seconds is None else str(timedelta(seconds=round(seconds)))


def champions(versions: Sequence[Version]) -> dict[str, str]:
    """What a bundle is in the registry, by its hash: the champion, or the number of its version."""
    return {one.bundle_sha256: "champion" if CHAMPION in one.aliases else f"version {one.version}" for one in versions}


def text(said: str) -> str:
    """Text that Markdown shows as it is."""
    return _SIGNS.sub(r"\\\g<0>", said)
