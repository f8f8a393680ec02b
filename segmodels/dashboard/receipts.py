"""A promotion receipt as one HTML file: what was decided, why, and all that it rests on, for mail and for the record."""

from collections.abc import Mapping
from html import escape
from typing import Any

from segmodels.receipt import told

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; background: #fff; }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; } td, th { padding: 0.25rem 0.9rem 0.25rem 0; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid #999; } td.number { text-align: right; font-variant-numeric: tabular-nums; } code { overflow-wrap: anywhere; }
.better { color: #0072b2; } .worse { color: #b34700; }
@media (prefers-color-scheme: dark) { body { color: #e6e6e6; background: #161616; } .better { color: #56b4e9; } .worse { color: #e69f00; } }
"""


def html(receipt: Mapping[str, Any]) -> str:
    """The file's content, of `promotion.json`. Names in it are text, whatever they are."""
    against = "no champion" if receipt["champion"] is None else f"champion version {receipt['champion']}"
    title = f"{receipt['project']} version {receipt['version']}: {receipt['outcome']}"
    parts = [f"<h1>{escape(title)}</h1>", f"<p>{escape(receipt['reason'])}.</p>", f"<p>Decided against {escape(against)}.</p>"]
    if receipt["gain"] is not None:
        parts.append(
            _changes("In points of IoU, with 95 % intervals", [receipt["gain"], *receipt["classes"], *receipt["slices"]])
        )
        found = {
            "independent parts of the test images": receipt["clusters"],
            "evidence, as a natural logarithm": f"{receipt['times']:.2f}",
            "evidence that was needed": f"{receipt['times_needed']:.2f}",
            "parts where it is off by more than 20 points": f"worse in {receipt['worse']}, better in {receipt['better']}",
            "smallest gain that this test set shows four times in five": _detectable(receipt["detectable"]),
        }
        parts.append(
            _facts("What it was decided by", found | ({} if receipt["vault"] is None else {"the vault": receipt["vault"]}))
        )
    if receipt["regressions"]:
        parts.append(_regressions(receipt["regressions"]))
    if receipt["data"] is not None:
        parts.append(f"<p>The dataset, since the champion was trained: {escape(told(receipt['data']))}.</p>")
    parts.append(
        _facts("What it rests on", {"bundle": receipt["bundle_sha256"], "test images": receipt["test_sha256"], **receipt["gate"]})
    )
    return f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title><style>{_STYLE}</style>{''.join(parts)}</html>\n"


def _changes(title: str, changes: list[Mapping[str, Any]]) -> str:
    rows = []
    for one in changes:
        kind = "better" if one["low"] > 0 else "worse" if one["high"] < 0 else ""
        cells = [f"{100 * one[key]:+.2f}" for key in ("difference", "low", "high")]
        numbers = "".join(f"<td class='number {kind}'>{cell}</td>" for cell in cells)
        rows.append(f"<tr><td>{escape(one['what'])}</td>{numbers}</tr>")
    return f"<h2>{escape(title)}</h2><table><tr><th></th><th>gain</th><th>from</th><th>to</th></tr>{''.join(rows)}</table>"


def _regressions(regressions: list[Mapping[str, Any]]) -> str:
    rows = []
    for one in regressions:
        lost = one["challenger"] - one["champion"]
        numbers = f"<td class='number'>{one['champion']:.4f}</td><td class='number'>{one['challenger']:.4f}</td>"
        rows.append(f"<tr><td>{escape(one['image'])}</td>{numbers}<td class='number worse'>{100 * lost:+.2f}</td></tr>")
    head = "<tr><th></th><th>champion's mIoU</th><th>challenger's</th><th>points</th></tr>"
    return f"<h2>The images that lost most</h2><table>{head}{''.join(rows)}</table>"


def _facts(title: str, facts: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td><code>{escape('none' if value is None else str(value))}</code></td></tr>"
        for name, value in facts.items()
    )
    return f"<h2>{escape(title)}</h2><table>{rows}</table>"


def _detectable(gain: float | None) -> str:
    return "none" if gain is None else f"{100 * gain:.1f} points"
