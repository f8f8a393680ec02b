"""Which candidate is best, whether that is certain, and what it costs."""

from typing import Any

import pandas as pd
import streamlit as st

from segmodels.compare import COSTS
from segmodels.dashboard import charts, current, shown, source
from segmodels.dashboard.evaluated import groups
from segmodels.errors import InputError
from segmodels.records import CandidateRun, Retrain

NEWEST, ALL = "newest", "all"
FEW_CLASSES = 12
"""Whose scores fit beside another chart."""


def show() -> None:
    shown.page("Leaderboard", "Which candidate is best on the same test images, whether that is certain, and what it costs.")
    project = current.project()
    chosen = _chosen(shown.or_warned(lambda: current.retrains(project), []))
    leaderboard = current.evaluated().leaderboard if chosen is None else _then(chosen)
    every_run: list[CandidateRun] = shown.or_warned(lambda: current.candidate_runs(project), [])
    runs = {one.bundle: one for one in reversed(every_run) if one.bundle}  # of several with one bundle the newest
    known = shown.champions(shown.or_warned(lambda: current.versions(project), []))
    ranked = _filtered(leaderboard["candidates"], runs)
    if not ranked:
        st.info("No candidate has what you ask for; take a filter away.")
        return
    if len(ranked) < len(leaderboard["candidates"]):
        st.caption(f"{len(ranked)} of {len(leaderboard['candidates'])} candidates have what you ask for.")
    marked = {one["name"]: "put forward" for one in ranked if one["name"] == leaderboard["chosen"]}
    for one in ranked:
        if known.get(one["bundle_sha256"]) == "champion":
            marked[one["name"]] = "champion"
    _told(leaderboard, ranked, marked)
    drawn = _drawn(ranked, marked)
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.subheader("How good, and how certain")
        names = [one["name"] for one in drawn]
        joined = groups(names, leaderboard["differences"])
        figure = charts.leaderboard(drawn, joined, marked)
        shown.chart(figure, "leaderboard", "test mIoU of each candidate with its 95 % interval")
        told = "A line at the right joins candidates that no more than chance tells apart." if joined else ""
        st.caption(f"{told} {len(drawn)} of {len(ranked)} candidates are drawn." if len(drawn) < len(ranked) else told)
        if len(ranked[0]["classes"]) <= FEW_CLASSES:
            _classes(drawn)
    with right:
        st.subheader("What it costs")
        labels = {"latency_ms": "time of an image", "num_parameters": "parameters"}
        cost = st.segmented_control(
            "against", list(labels), default="latency_ms", format_func=labels.__getitem__, key="cost", bind="query-params"
        )
        cost = cost or COSTS[0]
        front = [name for name in leaderboard["fronts"][cost] if name in {one["name"] for one in drawn}]
        shown.chart(charts.pareto(drawn, front, cost, marked), "pareto", f"mIoU against {labels[cost]}")
        st.caption("The line joins those that no other beats in both.")
    if len(ranked[0]["classes"]) > FEW_CLASSES:
        _classes(drawn)
    st.subheader("All figures")
    _table(ranked, runs, known)
    if not any(one.page for one in runs.values()):
        st.caption("`make mlflow` shows every run's curves; with `make up` they are a click away here.")
    for one in leaderboard["not_ranked"]:
        st.warning(f"{shown.text(one['name'])} is not ranked: {one['reason']}")


def _classes(drawn: list[dict[str, Any]]) -> None:
    st.subheader("Where each is good")
    class_names = [one["name"] for one in drawn[0]["classes"]]
    shown.chart(charts.classes(drawn, class_names), "classes", "IoU of every class by candidate")


def _chosen(retrains: list[Retrain]) -> Retrain | None:
    """The retraining that a person wants to see; None for what lies in the project now."""
    concluded = [one for one in retrains if one.verdict is not None]
    datasets = list(dict.fromkeys(one.dataset for one in concluded))
    by_id = {one.run_id: one for one in concluded}
    left, right = st.columns([1, 3])
    dataset = shown.choose(
        "Dataset version",
        [ALL, *datasets],
        told=lambda one: one[:12],
        key="dataset",
        place=left,
        help="The hash under which DVC has the dataset.",
    )
    found = [one.run_id for one in concluded if dataset in (ALL, one.dataset)]
    run_id = shown.choose(
        "Retraining",
        [NEWEST, *found] if dataset == ALL else found,
        told=lambda one: NEWEST if one == NEWEST else _label(by_id[one]),
        key="retrain",
        place=right,
    )
    return by_id.get(run_id)


def _label(one: Retrain) -> str:
    return f"{shown.when(one.began)}, {one.started}: {one.outcome} ({one.run_id[:8]})"


def _then(chosen: Retrain) -> dict[str, Any]:
    """The leaderboard of a retraining of before."""
    found = source.report(chosen.run_id, "reports/leaderboard.json")
    if found is None:
        raise InputError(f"the records of {_label(chosen)} have no leaderboard any more; choose another")
    return found


def _filtered(candidates: list[dict[str, Any]], runs: dict[str, CandidateRun]) -> list[dict[str, Any]]:
    """The candidates that have the architectures and tags that were chosen."""

    def facts(one: dict[str, Any]) -> set[str]:
        run = runs.get(one["bundle_sha256"])
        if run is None:
            return set()
        kept = {run.params[key] for key in ("architecture", "encoder", "augmentation.name") if run.params.get(key)}
        return kept | {f"{name}: {value}" for name, value in run.tags.items()}

    every = sorted(set[str]().union(*(facts(one) for one in candidates)))
    wanted = st.multiselect(
        "Only",
        every,
        key="only",
        bind="query-params",
        placeholder="architecture, encoder, augmentation, tag of the run",
        help="Tags are those that somebody has given to a candidate's run in MLflow.",
    )
    return [one for one in candidates if set(wanted) <= facts(one)]


def _told(leaderboard: dict[str, Any], ranked: list[dict[str, Any]], marked: dict[str, str]) -> None:
    best = ranked[0]
    champion = next((one for one in ranked if marked.get(one["name"]) == "champion"), None)
    with st.grid(4):
        st.metric("Best test mIoU", f"{best['miou']:.4f}", help=best["name"])
        st.metric("Put forward", leaderboard["chosen"])
        st.metric("Champion among them", "no" if champion is None else champion["name"])
        st.metric("Test images", f"{best['num_images']:,}", help=f"of {leaderboard['num_scenes']:,} scenes")
    st.markdown(f"**Why:** {shown.text(leaderboard['reason'])}")


def _drawn(ranked: list[dict[str, Any]], marked: dict[str, str]) -> list[dict[str, Any]]:
    return [one for place, one in enumerate(ranked) if place < shown.MOST_DRAWN or one["name"] in marked]


def _table(ranked: list[dict[str, Any]], runs: dict[str, CandidateRun], known: dict[str, str]) -> None:
    class_names = [one["name"] for one in ranked[0]["classes"]]
    rows = [
        {
            "candidate": one["name"],
            "is": known.get(one["bundle_sha256"], ""),
            **{key: one[key] for key in ("miou", "miou_low", "miou_high", "validation_miou", "boundary_iou", "pixel_accuracy")},
            "latency_ms": one["latency_ms"],
            "latency_p95_ms": one["latency_p95_ms"],
            "peak_memory_mb": one["peak_memory_mb"],
            "parameters": one["num_parameters"] / 1e6,
            "size_mb": one.get("size_mb"),
            "training_s": _training_s(runs.get(one["bundle_sha256"])),
            "curves": runs[one["bundle_sha256"]].page if one["bundle_sha256"] in runs else None,
            "by": f"{one['backend']} {one['precision']}, {one['device']}",
            **{f"IoU of {name}": value for name, value in zip(class_names, one["iou"], strict=True)},
        }
        for one in ranked
    ]
    columns = {
        "miou": shown.score("test mIoU"),
        "miou_low": shown.score("from", "The lower end of the 95 % interval."),
        "miou_high": shown.score("to", "Its upper end."),
        "validation_miou": shown.score("on validation", "What the candidate to put forward is chosen by."),
        "boundary_iou": shown.score("boundary IoU", "IoU of the pixels near borders."),
        "pixel_accuracy": shown.score("pixel accuracy"),
        "latency_ms": st.column_config.NumberColumn("ms an image", format="%.1f", help="The median."),
        "latency_p95_ms": st.column_config.NumberColumn("95th percentile", format="%.1f"),
        "peak_memory_mb": st.column_config.NumberColumn("memory, MB", format="%.0f", help="At its peak, while predicting."),
        "parameters": st.column_config.NumberColumn("parameters, M", format="%.2f"),
        "size_mb": st.column_config.NumberColumn("weights, MB", format="%.1f"),
        "curves": shown.link("in MLflow") if any(one.page for one in runs.values()) else None,
        "training_s": st.column_config.NumberColumn("training, s", format="%.0f"),
        **{f"IoU of {name}": shown.score(f"IoU of {name}") for name in class_names},
    }
    shown.table(pd.DataFrame(rows), columns, alt="all figures of all candidates", key="figures")


def _training_s(run: CandidateRun | None) -> float | None:
    return None if run is None else run.metrics.get("training_seconds")
