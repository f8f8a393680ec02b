"""The leaderboard as one HTML file that needs nothing else: for mail, for CI, for the record."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from segmodels import significance

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; background: #fff; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.2rem; margin-top: 2rem; } img { max-width: 100%; background: #fff; }
.wide { overflow-x: auto; } table { border-collapse: collapse; } td, th { padding: 0.25rem 0.8rem 0.25rem 0; text-align: left; white-space: nowrap; }
th { border-bottom: 1px solid #999; } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
th:not(:first-child):not(:last-child) { text-align: right; } tr.chosen { font-weight: 600; } .reason { font-size: 1.05rem; }
@media (prefers-color-scheme: dark) { body { color: #e6e6e6; background: #161616; } }
"""


def html(leaderboard: Mapping[str, Any], pictures: Mapping[str, Path]) -> str:
    """The file's content.

    Args:
        pictures: PNG files to put in, by what they show. Names are text in it, whatever they are.
    """
    ranked = leaderboard["candidates"]
    parts = [
        "<h1>Leaderboard</h1>",
        f"<p class='reason'>Put forward: {escape(leaderboard['reason'])}.</p>",
        f"<p>On {ranked[0]['num_images']} test images of {leaderboard['num_scenes']} scenes; intervals of 95 % are of {leaderboard['num_drawn']} "
        f"{leaderboard['drawn']} drawn anew.</p>",
        _candidates(ranked, leaderboard["chosen"]),
        *(f"<h2>{escape(title)}</h2><img alt='{escape(title)}' src='{_embedded(path)}'>" for title, path in pictures.items()),
        _classes(ranked),
        _differences(leaderboard["differences"]),
    ]
    if leaderboard["not_ranked"]:
        told = "".join(f"<li>{escape(one['name'])}: {escape(one['reason'])}</li>" for one in leaderboard["not_ranked"])
        parts.append(f"<h2>Not ranked</h2><ul>{told}</ul>")
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>Leaderboard</title><style>{_STYLE}</style>{''.join(parts)}</html>\n"
    )


def _candidates(ranked: Sequence[Mapping[str, Any]], chosen: str) -> str:
    head = ["candidate", "test mIoU", "from", "to", "on validation", "boundary IoU", "ms an image", "parameters, M", "by"]
    rows = []
    for one in ranked:
        scores = [one[key] for key in ("miou", "miou_low", "miou_high", "validation_miou", "boundary_iou")]
        numbers = [*(_score(score) for score in scores), f"{one['latency_ms']:.1f}", f"{one['num_parameters'] / 1e6:.2f}"]
        by = f"{one['backend']} {one['precision']}, {one['device']}"
        rows.append((one["name"] == chosen, one["name"], numbers, by))
    return _table(head, rows)


def _classes(ranked: Sequence[Mapping[str, Any]]) -> str:
    names = [one["name"] for one in ranked[0]["classes"]]
    rows = [(False, one["name"], [_score(iou) for iou in one["iou"]], "") for one in ranked]
    return f"<h2>IoU by class</h2>{_table(['candidate', *names], rows)}"


def _differences(differences: Sequence[Mapping[str, Any]]) -> str:
    if not differences:
        return ""
    rows = [
        (
            False,
            f"{one['first']} less {one['second']}",
            [f"{one['miou']:+.4f}", f"{_signed(one['low'])}", f"{_signed(one['high'])}", _score(one["p"])],
            "they differ" if one["p"] is not None and one["p"] < significance.LEVEL else "no significant difference",
        )
        for one in differences
    ]
    head = ["pair", "mIoU", "from", "to", "p after Holm", ""]
    return f"<h2>Who differs by more than chance</h2>{_table(head, rows)}"


def _table(head: Sequence[str], rows: Sequence[tuple[bool, str, Sequence[str], str]]) -> str:
    """Of each row whether it stands out, its name, numbers, and a last word."""
    lines = [f"<tr>{''.join(f'<th>{escape(one)}</th>' for one in head)}</tr>"]
    for stands_out, name, numbers, last in rows:
        cells = "".join(f"<td class='number'>{escape(one)}</td>" for one in numbers)
        kind = " class='chosen'" if stands_out else ""
        lines.append(f"<tr{kind}><td>{escape(name)}</td>{cells}{f'<td>{escape(last)}</td>' if last else ''}</tr>")
    return f"<div class='wide'><table>{''.join(lines)}</table></div>"


def _score(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "none" if value is None else f"{value:+.4f}"


def _embedded(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
