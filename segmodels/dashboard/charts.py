"""Charts of plain values, as Plotly has them: each names what it shows, and looks right on a light and on a dark page."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from segmodels.dashboard.palette import BETTER, NEITHER, SCORES, WORSE, css, of_classes
from segmodels.gate import Change
from segmodels.records import Retrain

LINE_PX = 30
"""Of a row in a chart with names at its side."""
MOST_NAMED = 15
"""Points beside which names are written."""
MOST_WRITTEN = 20
"""Classes of a table of colours into whose cells numbers are written."""
COSTS = {"latency_ms": (1.0, "ms an image"), "num_parameters": (1e6, "million parameters")}


def config(name: str) -> dict[str, Any]:
    """How a chart behaves: its one button saves it as a picture of this name."""
    return {
        "displaylogo": False,
        "displayModeBar": True,
        "modeBarButtons": [["toImage"]],
        "toImageButtonOptions": {"format": "png", "filename": name, "scale": 2},
        "scrollZoom": False,
    }


def leaderboard(ranked: Sequence[dict[str, Any]], groups: Sequence[Sequence[str]], marked: Mapping[str, str]) -> go.Figure:
    """Test mIoU with its 95 % interval, the best on top; a line at the right joins those that only chance tells apart.

    Args:
        marked: what a candidate is besides, as "champion", by its name.
    """
    figure = make_subplots(rows=1, cols=2, column_widths=[0.88, 0.12], shared_yaxes=True, horizontal_spacing=0.01)
    names = [one["name"] for one in ranked]
    miou = np.array([one["miou"] for one in ranked])
    figure.add_trace(
        go.Scatter(
            x=miou,
            y=names,
            mode="markers",
            marker={"size": 11, "color": [BETTER if name in marked else NEITHER for name in names]},
            error_x=_intervals(*([one[key] for one in ranked] for key in ("miou", "miou_low", "miou_high"))),
            customdata=[[one["miou_low"], one["miou_high"]] for one in ranked],
            hovertemplate="%{y}: %{x:.4f} (%{customdata[0]:.4f} to %{customdata[1]:.4f})<extra></extra>",
        ),
        1,
        1,
    )
    for number, group in enumerate(groups):
        figure.add_trace(
            go.Scatter(
                x=[number] * len(group),
                y=list(group),
                mode="lines+markers",
                line={"width": 4, "color": NEITHER},
                marker={"size": 6, "color": NEITHER},
                hovertemplate=f"no significant difference: {', '.join(map(plain, group))}<extra></extra>",
            ),
            1,
            2,
        )
    figure.update_yaxes(
        type="category",
        autorange="reversed",
        categoryorder="array",
        categoryarray=names,
        tickmode="array",
        tickvals=names,
        ticktext=[_named(name, marked) for name in names],
    )
    figure.update_xaxes(title="test mIoU, 95 % interval", row=1, col=1)
    figure.update_xaxes(visible=False, range=[-0.7, max(2.5, len(groups) - 0.3)], row=1, col=2)
    return _sized(figure, len(names))


def classes(ranked: Sequence[dict[str, Any]], class_names: Sequence[str]) -> go.Figure:
    """IoU of every class by candidate; the classes that all are worst at stand out as dark columns."""
    values = [[np.nan if value is None else value for value in one["iou"]] for one in ranked]
    numbers = None
    if len(class_names) <= MOST_WRITTEN:
        numbers = [["none" if np.isnan(value) else f"{value:.2f}" for value in row] for row in values]
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=list(range(len(class_names))),
            y=[one["name"] for one in ranked],
            zmin=0,
            zmax=1,
            colorscale=SCORES,
            text=numbers,
            texttemplate="%{text}" if numbers else None,
            customdata=[[plain(name) for name in class_names]] * len(ranked),
            hovertemplate="%{y}, %{customdata}: %{z:.4f}<extra></extra>",
            colorbar={"title": "IoU", "thickness": 12},
        )
    )
    figure.update_xaxes(tickmode="array", tickvals=list(range(len(class_names))), ticktext=[short(name) for name in class_names])
    figure.update_yaxes(type="category", autorange="reversed", tickmode="array", **_ticks([one["name"] for one in ranked]))
    return _sized(figure, len(ranked))


def pareto(ranked: Sequence[dict[str, Any]], front: Sequence[str], cost: str, marked: Mapping[str, str]) -> go.Figure:
    """mIoU against a cost, on a logarithmic axis; a line joins those that no other beats in both."""
    unit, label = COSTS[cost]
    by_name = {one["name"]: one for one in ranked}
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=[by_name[name][cost] / unit for name in front],
            y=[by_name[name]["miou"] for name in front],
            mode="lines",
            line={"color": NEITHER, "width": 2},
            hoverinfo="skip",
        )
    )
    written = [name if len(ranked) <= MOST_NAMED or name in front or name in marked else "" for name in by_name]
    figure.add_trace(
        go.Scatter(
            x=[one[cost] / unit for one in ranked],
            y=[one["miou"] for one in ranked],
            mode="markers+text",
            text=[f"  {short(name)}" if name else "" for name in written],
            textposition="middle right",
            marker={"size": 11, "color": [BETTER if one["name"] in marked else NEITHER for one in ranked]},
            error_y=_intervals(*([one[key] for one in ranked] for key in ("miou", "miou_low", "miou_high"))),
            customdata=[plain(one["name"]) for one in ranked],
            hovertemplate=f"%{{customdata}}: %{{y:.4f}} at %{{x:.3g}} {label}<extra></extra>",
            cliponaxis=False,
        )
    )
    ticks = log_ticks([one[cost] / unit for one in ranked])
    figure.update_xaxes(type="log", title=label, tickmode="array", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    figure.update_xaxes(range=[np.log10(ticks[0] / 1.2), np.log10(ticks[-1] * 1.2)])
    figure.update_yaxes(title="test mIoU")
    return _plain(figure, 380)


def changes(gain: Change, by_class: Sequence[Change], one: str, other: str) -> go.Figure:
    """What the first candidate gains over the second in mIoU and by class, in points, with 95 % intervals."""
    every = [gain, *sorted(by_class, key=lambda change: -change.difference)]
    names = [change.what for change in every]
    figure = go.Figure(
        go.Scatter(
            x=[100 * change.difference for change in every],
            y=list(range(len(every))),
            mode="markers",
            marker={"size": 11, "color": [_color(change) for change in every]},
            error_x=_intervals(*([100 * getattr(change, key) for change in every] for key in ("difference", "low", "high"))),
            customdata=[[plain(change.what), 100 * change.low, 100 * change.high] for change in every],
            hovertemplate="%{customdata[0]}: %{x:+.2f} (%{customdata[1]:+.2f} to %{customdata[2]:+.2f})<extra></extra>",
        )
    )
    figure.add_vline(x=0, line={"color": NEITHER, "dash": "dot"})
    figure.update_xaxes(title=f"points of IoU: {short(other)} better  ←  →  {short(one)} better")
    figure.update_yaxes(
        autorange="reversed", tickmode="array", tickvals=list(range(len(names))), ticktext=[short(name) for name in names]
    )
    return _sized(figure, len(every))


def differences(values: Sequence[float], one: str, other: str) -> go.Figure:
    """How many images are how much better with the first candidate, and with the second."""
    points = 100 * np.asarray(values)
    widest = max(1.0, float(np.abs(points).max(initial=0)))
    edges = np.linspace(-widest, widest, 42)
    counts, _ = np.histogram(points, edges)
    middles = (edges[:-1] + edges[1:]) / 2
    figure = go.Figure(
        go.Bar(
            x=middles,
            y=counts,
            marker={"color": [BETTER if middle > 0.5 else WORSE if middle < -0.5 else NEITHER for middle in middles]},
            hovertemplate="%{x:+.1f} points: %{y} images<extra></extra>",
        )
    )
    figure.update_layout(bargap=0.05)
    figure.update_xaxes(title=f"points of the image's own mIoU: {short(other)} better  ←  →  {short(one)} better")
    figure.update_yaxes(title="images")
    return _plain(figure, 260)


def confusion(counts: Sequence[Sequence[int]], class_names: Sequence[str]) -> go.Figure:
    """What each class was taken for, in shares of its pixels. A cell can be clicked: it carries its two classes."""
    cells = np.asarray(counts, float)
    totals = cells.sum(axis=1, keepdims=True)
    shares = np.divide(cells, totals, out=np.full(cells.shape, np.nan), where=totals > 0)
    numbers = None
    if len(class_names) <= MOST_WRITTEN:
        numbers = [["" if np.isnan(share) or share < 0.005 else f"{share:.0%}" for share in row] for row in shares]
    places = list(range(len(class_names)))
    pairs = [[[truth, predicted] for predicted in places] for truth in places]
    told = [[f"{plain(one)} taken for {plain(other)}" for other in class_names] for one in class_names]
    figure = go.Figure(
        go.Heatmap(
            z=shares,
            x=places,
            y=places,
            zmin=0,
            zmax=1,
            colorscale=SCORES,
            text=numbers,
            texttemplate="%{text}" if numbers else None,
            hovertext=told,
            hovertemplate="%{hovertext}: %{z:.1%} of it<extra></extra>",
            showscale=False,
        )
    )
    # what is clicked is a point: a table of colours has none
    figure.add_trace(
        go.Scatter(
            x=[predicted for _ in places for predicted in places],
            y=[truth for truth in places for _ in places],
            mode="markers",
            marker={"size": 18, "opacity": 0},
            customdata=[pair for row in pairs for pair in row],
            hovertext=[text for row in told for text in row],
            hovertemplate="%{hovertext}; click for its images<extra></extra>",
        )
    )
    ticks = {"tickmode": "array", "tickvals": places, "ticktext": [short(name) for name in class_names]}
    figure.update_xaxes(title="predicted", side="bottom", **ticks)
    figure.update_yaxes(title="true", autorange="reversed", **ticks)
    return _plain(figure, 120 + LINE_PX * max(6, len(class_names)))


def curves(lines: Mapping[str, Sequence[tuple[int, float]]], label: str) -> go.Figure:
    """A metric by epoch, a line for each candidate."""
    figure = go.Figure()
    for (name, line), color in zip(lines.items(), (BETTER, WORSE, NEITHER), strict=False):
        figure.add_trace(
            go.Scatter(
                x=[epoch for epoch, _ in line],
                y=[value for _, value in line],
                name=short(name),
                mode="lines+markers",
                line={"color": color},
                hovertemplate=f"{plain(name)}, epoch %{{x}}: %{{y:.4f}}<extra></extra>",
            )
        )
    figure.update_xaxes(title="epoch", rangemode="tozero")
    figure.update_yaxes(title=label)
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": 1.15})
    return _plain(figure, 300)


OUTCOMES = {
    "promote": (BETTER, "star"),
    "keep": (NEITHER, "circle"),
    "inconclusive": (NEITHER, "circle-open"),
    "refused": (WORSE, "x"),
    "failed": (WORSE, "x"),
    "killed": (WORSE, "x-open"),
    "running": (NEITHER, "diamond-open"),
}
"""How the outcome of a retraining is drawn: each has a sign of its own besides its colour."""


def local(moment: datetime) -> datetime:
    """As the clock on this machine shows it: a chart shows a time as it is, whatever its zone."""
    return moment.astimezone().replace(tzinfo=None)


def timeline(retrains: Sequence[Retrain]) -> go.Figure:
    """When each retraining began, by what started it, with a sign for what came out."""
    figure = go.Figure()
    for outcome in dict.fromkeys(one.outcome for one in retrains):
        some = [one for one in retrains if one.outcome == outcome]
        color, sign = OUTCOMES.get(outcome, (NEITHER, "circle"))
        figure.add_trace(
            go.Scatter(
                x=[local(one.began) for one in some],
                y=[short(one.started) for one in some],
                name=plain(outcome),
                mode="markers",
                marker={"size": 13, "color": color, "symbol": sign, "line": {"width": 2, "color": color}},
                customdata=["<br>".join(map(plain, textwrap.wrap(one.reason, 80))) for one in some],
                hovertemplate=f"%{{x|%Y-%m-%d %H:%M}}: {plain(outcome)}<br>%{{customdata}}<extra></extra>",
            )
        )
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": 1.2})
    first, last = (local(end(one.began for one in retrains)) for end in (min, max))
    beside = max((last - first) / 20, timedelta(hours=1))
    figure.update_xaxes(type="date", range=[first - beside, last + beside])
    figure.update_yaxes(type="category")
    return _plain(figure, 140 + LINE_PX * len({one.started for one in retrains}))


def stages(took: Mapping[str, Mapping[str, Any]]) -> go.Figure:
    """The seconds of each stage, in the order in which they ran."""
    names, places = list(took), list(range(len(took)))
    told = [_took(one["seconds"], one["failed"]) for one in took.values()]
    figure = go.Figure(
        go.Bar(
            x=[one["seconds"] or 0 for one in took.values()],
            y=places,
            orientation="h",
            marker={"color": [WORSE if one["failed"] else BETTER for one in took.values()]},
            text=told,
            customdata=[plain(name) for name in names],
            hovertemplate="%{customdata}: %{text}<extra></extra>",
        )
    )
    ticks = [short(name, 30) for name in names]
    figure.update_yaxes(autorange="reversed", tickmode="array", tickvals=places, ticktext=ticks)
    figure.update_xaxes(title="seconds", rangemode="tozero")
    return _sized(figure, len(names))


def _took(seconds: float | None, failed: bool) -> str:
    return "failed" if failed else "DVC had its results" if seconds is None else f"{seconds:.1f} s"


def receipt(found: Sequence[Mapping[str, Any]]) -> go.Figure:
    """What a version gained over the champion: in mIoU, by class and by slice."""
    gain, *rest = [Change(**one) for one in found]
    return changes(gain, rest, "the version", "the champion")


def shares(census: Mapping[str, Any]) -> go.Figure:
    """Each class's share of the pixels by split, on a logarithmic axis."""
    figure = go.Figure()
    signs = {"train": (BETTER, "circle"), "val": ("#e69f00", "square"), "test": (NEITHER, "diamond"), "vault": (NEITHER, "x")}
    names = [short(one["name"]) for one in census["classes"]]
    for split, (color, sign) in signs.items():
        if not census["num_images"].get(split):
            continue
        figure.add_trace(
            go.Scatter(
                x=[one["share"].get(split) or None for one in census["classes"]],
                y=list(range(len(names))),
                name=split,
                mode="markers",
                marker={"size": 11, "color": color, "symbol": sign},
                hovertemplate=f"{split}: %{{x:.2%}}<extra></extra>",
            )
        )
    there = [share for one in census["classes"] for share in one["share"].values() if share]
    ticks = log_ticks([*there, 1.0])
    figure.update_xaxes(type="log", tickmode="array", tickvals=ticks, ticktext=[f"{100 * tick:g} %" for tick in ticks])
    figure.update_yaxes(autorange="reversed", tickmode="array", tickvals=list(range(len(names))), ticktext=names)
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": 1.1})
    return _sized(figure, len(names))


def versions(found: pd.DataFrame) -> go.Figure:
    """Each class's share of the pixels, version by version: `began`, `class`, `share`, `images`."""
    figure = go.Figure()
    names = list(dict.fromkeys(found["class"]))
    for name, color in zip(names, of_classes(len(names)), strict=True):
        some = found[found["class"] == name]
        figure.add_trace(
            go.Scatter(
                x=some["began"],
                y=some["share"],
                name=short(name),
                mode="lines+markers",
                line={"color": css(color), "shape": "hv"},
                customdata=some["images"],
                hovertemplate=f"{plain(name)}: %{{y:.2%}} of the pixels, %{{customdata}} images<extra></extra>",
            )
        )
    figure.update_layout(showlegend=True)
    figure.update_xaxes(type="date")
    figure.update_yaxes(title="share of the known pixels", tickformat=".0%", rangemode="tozero")
    return _plain(figure, 340)


def log_ticks(values: Sequence[float]) -> list[float]:
    """Round numbers around values on a logarithmic axis, from one below them all to one above."""
    low, high = max(min(values), 1e-9), max(values)
    steps = (1, 2, 5) if high > 5 * low else (1, 1.5, 2, 3, 4, 5, 6, 8)
    every = [
        step * 10.0**power for power in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2) for step in steps
    ]
    first = max(number for number, tick in enumerate(every) if tick <= low)
    last = min(number for number, tick in enumerate(every) if tick >= high)
    return every[first : last + 1]


def short(text: str, length: int = 22) -> str:
    """Shortened in the middle, as plain text."""
    kept = text if len(text) <= length else f"{text[: length // 2 - 1]}…{text[-(length // 2 - 1) :]}"
    return plain(kept)


def plain(text: str) -> str:
    """Text that Plotly shows as it is: it takes some tags for its own."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _intervals(values: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> dict[str, Any]:
    """The bars around points: Plotly takes how far they reach, to each side."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0, high - value) for value, high in zip(values, highs, strict=True)],
        "arrayminus": [max(0, value - low) for value, low in zip(values, lows, strict=True)],
        "color": NEITHER,
        "thickness": 2,
    }


def _named(name: str, marked: Mapping[str, str]) -> str:
    return f"<b>{short(name)}</b> ({marked[name]})" if name in marked else short(name)


def _ticks(names: Sequence[str]) -> dict[str, Any]:
    return {"tickvals": list(names), "ticktext": [short(name) for name in names]}


def _color(change: Change) -> str:
    return BETTER if change.low > 0 else WORSE if change.high < 0 else NEITHER


def _sized(figure: go.Figure, rows: int) -> go.Figure:
    return _plain(figure, 110 + LINE_PX * rows)


def _plain(figure: go.Figure, height: int) -> go.Figure:
    if figure.layout.showlegend is None:
        figure.update_layout(showlegend=False)
    figure.update_layout(
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": NEITHER, "activecolor": BETTER},
        height=height,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure
