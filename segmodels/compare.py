"""Stage `compare`: the leaderboard of all candidates on the same test images, what of it is certain, and which one to put forward."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from segmodels import atomic, pictures, report, significance
from segmodels.counts import INSIDE, TEST, VALIDATION, counts_of, read_counts, read_scores
from segmodels.errors import InputError
from segmodels.significance import Counts, Difference, Weighed
from segmodels.store import Store

AS_FAST = 1.1
"""A candidate that takes at most so many times as long as the fastest is as fast: no machine repeats itself more closely."""


def compare(
    prepared: Path,
    counts: Path,
    destination: Path,
    *,
    candidates: Sequence[str],
    same_but_for_the_seed: Sequence[Sequence[str]] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """Rank the candidates that were scored on the prepared test set; write `leaderboard.json`, `.md`, `.png`, `pareto.png` and `index.html`, which has all of it in one file.

    Put forward is the cheapest of those that on the validation images do not differ from the best by more than chance: test images that
    chose would be no fresh ones for the gate. Candidates that failed, or whose scores
    are of other test images, are listed as not ranked, with the reason.

    Args:
        same_but_for_the_seed: candidates of one kind each, whose spread is told.
        seed: of the draws that intervals are taken from.

    Raises:
        InputError: no candidate can be ranked.
    """
    store = Store(prepared)
    ranked, unranked = _ranked(store, counts, candidates)
    if not ranked:
        raise InputError(f"no candidate can be ranked: {_reasons(unranked)}")
    weighed = _weigh(counts, ranked, "miou", same_but_for_the_seed, seed)
    for one in ranked:
        one["miou_low"], one["miou_high"] = weighed.intervals[one["name"]]
    ranked.sort(key=lambda one: (-one["miou"], one["num_parameters"], one["name"]))
    on_validation = _weigh(counts, ranked, "validation_miou", same_but_for_the_seed, seed)
    chosen, reason = choose(ranked, on_validation.differences)
    fronts = {cost: front(ranked, cost) for cost in COSTS}
    leaderboard = {
        "dataset_sha256": store.sha256,
        "test_sha256": store.digest("test"),
        "chosen": chosen,
        "reason": reason,
        "candidates": ranked,
        "drawn": weighed.drawn,
        "num_drawn": weighed.num_drawn,
        "num_scenes": weighed.num_scenes,
        "differences": [_told(one) for one in weighed.differences],
        "validation_differences": [_told(one) for one in on_validation.differences],
        "fronts": fronts,
        "seeds": _spreads(ranked, same_but_for_the_seed),
        "not_ranked": unranked,
    }
    atomic.write_json(destination / "leaderboard.json", leaderboard)
    atomic.write_text(destination / "leaderboard.md", markdown(leaderboard))
    drawn = [one for place, one in enumerate(ranked) if place < pictures.MOST_DRAWN or one["name"] == chosen]
    class_names = [one["name"] for one in ranked[0]["classes"]]
    pictures.leaderboard(destination / "leaderboard.png", drawn, class_names, num_ranked=len(ranked))
    pictures.pareto(destination / "pareto.png", ranked, fronts, chosen)
    shown = {"How good, and how certain": destination / "leaderboard.png", "What it costs": destination / "pareto.png"}
    atomic.write_text(destination / "index.html", report.html(leaderboard, shown))
    return leaderboard


def _ranked(store: Store, counts: Path, candidates: Sequence[str]) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """The entries of the candidates that were scored on these test and validation images, and why others have none."""
    test_sha256, validation_sha256 = store.digest("test"), store.digest("val")
    ranked, unranked = list[dict[str, Any]](), list[dict[str, str]]()
    for name in candidates:
        folder = counts / name
        if not (folder / "scores.json").is_file():
            unranked.append({"name": name, "reason": "was not scored: its training or evaluation failed"})
            continue
        scores = read_scores(folder)
        if scores["test_sha256"] != test_sha256:
            unranked.append(
                {"name": name, "reason": "its scores are of other test images: its last training or evaluation failed"}
            )
            continue
        if scores.get("validation_sha256") != validation_sha256:
            unranked.append({"name": name, "reason": "its scores are of other validation images: evaluate it again"})
            continue
        if scores["miou"] is None:
            unranked.append({"name": name, "reason": "no test image shows any class, and it says so: there is nothing to score"})
            continue
        ranked.append({"name": name, **{key: scores[key] for key in KEPT}, "iou": [one["iou"] for one in scores["classes"]]})
    return ranked, unranked


def front(candidates: Sequence[dict[str, Any]], cost: str) -> list[str]:
    """The candidates that no other beats in both mIoU and a cost, the cheapest first (Pareto's front)."""
    found: list[dict[str, Any]] = []
    for one in sorted(candidates, key=lambda one: (one[cost], -one["miou"])):
        if not found or one["miou"] > found[-1]["miou"]:
            found.append(one)
    return [one["name"] for one in found]


KEPT = (
    "miou",
    "validation_miou",
    "boundary_iou",
    "pixel_accuracy",
    "classes",
    "num_images",
    "num_parameters",
    "size_mb",
    "latency_ms",
    "latency_p95_ms",
    "peak_memory_mb",
    "device",
    "backend",
    "precision",
    "bundle_sha256",
)
"""What the leaderboard takes over of a candidate's scores."""
NAMED = 5
"""Of the candidates that another is told from in a sentence."""
COSTS = ("latency_ms", "num_parameters")
TABLES = {"miou": TEST, "validation_miou": VALIDATION}
"""What each mIoU was counted in."""


def _weigh(
    folder: Path,
    ranked: list[dict[str, Any]],
    by: Literal["miou", "validation_miou"],
    same_but_for_the_seed: Sequence[Sequence[str]],
    seed: int,
) -> Weighed:
    """What is certain of the candidates' mIoU on the test images, or on the validation images."""
    num_classes = len(ranked[0]["iou"])
    tables = {one["name"]: read_counts(folder / one["name"], TABLES[by]) for one in ranked}
    counts: dict[str, Counts] = {}
    for name, images in tables.items():
        right, true, predicted = (counts_of(images, kind, num_classes) for kind in INSIDE)
        counts[name] = right, true, predicted
    scenes = next(iter(tables.values()))["scene"].tolist()
    on_test = {one["name"]: one["miou"] for one in ranked}
    on_validation = {one["name"]: _on_validation(one) for one in ranked}
    mious, elsewhere = (on_test, on_validation) if by == "miou" else (on_validation, on_test)
    return significance.weigh(mious, counts, scenes, elsewhere=elsewhere, same_but_for_the_seed=same_but_for_the_seed, seed=seed)


def _on_validation(one: dict[str, Any]) -> float:
    """Where no validation image shows a class, and a candidate says so, nothing speaks against it."""
    return 1.0 if one["validation_miou"] is None else float(one["validation_miou"])


def _told(one: Difference) -> dict[str, Any]:
    """None for what no draw could tell."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in asdict(one).items()}


def _spreads(ranked: Sequence[dict[str, Any]], kinds: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """What chance in training does to the mIoU of each kind of which at least two were ranked."""
    mious = {one["name"]: one["miou"] for one in ranked}
    found = [[name for name in kind if name in mious] for kind in kinds]
    return [
        {
            "candidates": names,
            "mean": statistics.mean(mious[name] for name in names),
            "deviation": statistics.stdev(mious[name] for name in names),
            "low": min(mious[name] for name in names),
            "high": max(mious[name] for name in names),
        }
        for names in found
        if len(names) > 1
    ]


def choose(ranked: Sequence[dict[str, Any]], differences: Sequence[Difference]) -> tuple[str, str]:
    """The candidate to put forward, and why in a sentence.

    It is the cheapest of those that no other that they were compared with is better than by more than chance: the fastest and, of those about as fast, the one with the
    fewest parameters. Times of different devices are not compared.
    """
    beaten = {one.second for one in differences if one.is_significant}
    rest = [one for one in ranked if one["name"] not in beaten]
    if len(rest) == 1:
        others = "there is no other" if len(ranked) == 1 else "it is better than every other by more than chance"
        return rest[0]["name"], f"{rest[0]['name']} has the best mIoU on the validation images; {others}"
    as_fast = rest
    if len({one["device"] for one in rest}) == 1:
        fastest = min(one["latency_ms"] for one in rest)
        as_fast = [one for one in rest if one["latency_ms"] <= AS_FAST * fastest]
    cheapest = min(as_fast, key=lambda one: (one["num_parameters"], -_on_validation(one), one["name"]))
    equal = [one["name"] for one in rest if one is not cheapest]
    names = " and ".join(equal if len(equal) <= NAMED else [*equal[:NAMED], f"{len(equal) - NAMED} others"])
    return cheapest["name"], (
        f"{cheapest['name']} takes {cheapest['latency_ms']:.1f} ms an image with {cheapest['num_parameters'] / 1e6:.1f} M parameters, and "
        f"no more than chance tells its mIoU on the validation images from that of {names}"
    )


def markdown(leaderboard: dict[str, Any]) -> str:
    """The leaderboard as a Markdown table."""
    names = [one["name"] for one in leaderboard["candidates"][0]["classes"]]
    head = [
        "candidate",
        "mIoU",
        "95 % interval",
        "on validation",
        "boundary IoU",
        "pixel accuracy",
        *names,
        "parameters",
        "ms an image",
        "by",
    ]
    lines = ["# Leaderboard", "", f"| {' | '.join(map(_cell, head))} |", f"|{'---|' * len(head)}"]
    for one in leaderboard["candidates"]:
        cells = [
            one["name"],
            f"{one['miou']:.4f}",
            f"{one['miou_low']:.4f} to {one['miou_high']:.4f}",
            *("-" if one[key] is None else f"{one[key]:.4f}" for key in ("validation_miou", "boundary_iou", "pixel_accuracy")),
            *("-" if iou is None else f"{iou:.4f}" for iou in one["iou"]),
            f"{one['num_parameters'] / 1e6:.1f} M",
            f"{one['latency_ms']:.1f}",
            f"{one['backend']} {one['precision']}, {one['device']}",
        ]
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    first = leaderboard["candidates"][0]
    lines += [
        "",
        f"Dataset-level scores on {first['num_images']} test images; void is not counted. A candidate is put forward by its mIoU on the "
        f"validation images, so that the test images have chosen none. {_drawn(leaderboard)}",
        "",
        f"Put forward: {_cell(leaderboard['reason'])}.",
        "",
    ]
    for one in leaderboard["differences"]:
        told = "differ" if one["p"] < significance.LEVEL else "no significant difference"
        lines.append(
            f"- {_cell(one['first'])} against {_cell(one['second'])}: {one['miou']:+.4f} ({one['low']:+.4f} to {one['high']:+.4f}), "
            f"{_p(one['p'])} after Holm: {told}"
        )
    for one in leaderboard["seeds"]:
        lines.append(
            f"- {_cell(' and '.join(one['candidates']))} differ by their seed alone: mIoU {one['mean']:.4f} on average, standard deviation "
            f"{one['deviation']:.4f}, from {one['low']:.4f} to {one['high']:.4f}; a difference within that is no reason to prefer another"
        )
    lines += [f"- {_cell(one['name'])} is not ranked: {one['reason']}" for one in leaderboard["not_ranked"]]
    return "\n".join(lines) + "\n"


def _drawn(leaderboard: dict[str, Any]) -> str:
    """What the intervals rest on."""
    count, what = leaderboard["num_drawn"], leaderboard["drawn"]
    told = f"Intervals and p are of {count} {what} drawn anew"
    if count < significance.MIN_SCENES:
        return f"{told}: too few to tell anything from chance."
    if what == "images" and leaderboard["num_scenes"] < count:
        return f"{told}; of scenes there are too few. Images of a scene are alike, so that less is certain than is said here."
    return f"{told}."


def _p(value: float) -> str:
    return f"p = {value:.4f}" if value >= 0.0001 else "p < 0.0001"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _reasons(unranked: Sequence[dict[str, str]]) -> str:
    return "; ".join(f"{one['name']} {one['reason']}" for one in unranked)
