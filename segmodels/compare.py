"""Stage `compare`: the leaderboard of all candidates on the same test images, with confidence intervals."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segmodels import atomic, metrics, pictures
from segmodels.errors import InputError
from segmodels.scoring import KINDS, counts_of, read_counts
from segmodels.store import Store


def compare(prepared: Path, counts: Path, destination: Path, *, candidates: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """Rank the candidates that were scored on the prepared test set; write `leaderboard.json`, `.md` and `.png`.

    Candidates that failed, or whose scores are of other test images, are listed as not ranked, with the reason.

    Raises:
        InputError: no candidate can be ranked.
    """
    test_sha256 = Store(prepared).digest("test")
    ranked, unranked = [], []
    for name in candidates:
        folder = counts / name
        if not (folder / "scores.json").is_file():
            unranked.append({"name": name, "reason": "was not scored: its training or evaluation failed"})
            continue
        images, scores = read_counts(folder)
        if scores["test_sha256"] != test_sha256:
            unranked.append(
                {"name": name, "reason": "its scores are of other test images: its last training or evaluation failed"}
            )
            continue
        ranked.append(_entry(name, images, scores, seed))
    if not ranked:
        raise InputError(f"no candidate can be ranked: {_reasons(unranked)}")
    ranked.sort(key=lambda one: (-one["miou"], one["num_parameters"], one["name"]))
    leaderboard = {"test_sha256": test_sha256, "candidates": ranked, "not_ranked": unranked}
    atomic.write_json(destination / "leaderboard.json", leaderboard)
    atomic.write_text(destination / "leaderboard.md", markdown(leaderboard))
    pictures.leaderboard(destination / "leaderboard.png", ranked, [one["name"] for one in ranked[0]["classes"]])
    return leaderboard


def _entry(name: str, images: Any, scores: dict[str, Any], seed: int) -> dict[str, Any]:
    intersection, truth, prediction = (counts_of(images, kind, len(scores["classes"])) for kind in KINDS)
    drawn = metrics.bootstrap_miou(intersection, truth, prediction, images["group"].to_numpy(), seed=seed)
    low, high = np.quantile(drawn, [0.025, 0.975])
    kept = (
        "miou",
        "pixel_accuracy",
        "classes",
        "num_images",
        "num_parameters",
        "latency_ms",
        "device",
        "precision",
        "bundle_sha256",
    )
    return {
        "name": name,
        **{key: scores[key] for key in kept},
        "miou_low": float(low),
        "miou_high": float(high),
        "iou": [one["iou"] for one in scores["classes"]],
    }


def markdown(leaderboard: dict[str, Any]) -> str:
    """The leaderboard as a Markdown table."""
    names = [one["name"] for one in leaderboard["candidates"][0]["classes"]]
    head = ["candidate", "mIoU", "95 % interval", "pixel accuracy", *names, "parameters", "ms an image"]
    lines = ["# Leaderboard", "", f"| {' | '.join(map(_cell, head))} |", f"|{'---|' * len(head)}"]
    for one in leaderboard["candidates"]:
        cells = [
            one["name"],
            f"{one['miou']:.4f}",
            f"{one['miou_low']:.4f} to {one['miou_high']:.4f}",
            "-" if one["pixel_accuracy"] is None else f"{one['pixel_accuracy']:.4f}",
            *("-" if iou is None else f"{iou:.4f}" for iou in one["iou"]),
            f"{one['num_parameters'] / 1e6:.1f} M",
            f"{one['latency_ms']:.1f}",
        ]
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    first = leaderboard["candidates"][0]
    lines += [
        "",
        f"Dataset-level scores on {first['num_images']} test images; void is not counted. Time on {first['device']}, one image.",
    ]
    lines += [f"- {_cell(one['name'])} is not ranked: {one['reason']}" for one in leaderboard["not_ranked"]]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _reasons(unranked: Sequence[dict[str, str]]) -> str:
    return "; ".join(f"{one['name']} {one['reason']}" for one in unranked)
