"""What all pages have in common: how tables, charts and times look, and what is said where there is nothing to show."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
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
    except tracking.FAILURES as error:
        st.error(str(tracking.unusable(error)))
    st.stop()


def chart(figure: go.Figure, name: str, alt: str, **keywords: Any) -> Any:
    """A chart whose button saves it under a name; `alt` says what it shows."""
    return st.plotly_chart(figure, config=charts.config(name), alt=alt, key=f"chart {name}", **keywords)


def table(rows: pd.DataFrame, columns: dict[str, Any], *, alt: str, **keywords: Any) -> Any:
    """A table that can be sorted, searched, and saved as CSV by its own button."""
    return st.dataframe(rows, column_config=columns, hide_index=True, alt=alt, **keywords)


def score(label: str, help: str | None = None) -> Any:
    return st.column_config.NumberColumn(label, format="%.4f", help=help)


def when(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"


def ago(moment: datetime) -> str:
    """Roughly, for people."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def lasted(seconds: float | None) -> str:
    return "runs" if seconds is None else str(timedelta(seconds=round(seconds)))


def champions(versions: Sequence[Version]) -> dict[str, str]:
    """What a bundle is in the registry, by its hash: the champion, or the number of its version."""
    return {
        one.tags["segmodels.bundle_sha256"]: "champion" if CHAMPION in one.aliases else f"version {one.version}"
        for one in versions
    }


def text(said: str) -> str:
    """Text that Markdown shows as it is."""
    return _SIGNS.sub(r"\\\g<0>", said)
