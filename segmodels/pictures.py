"""Pictures for people: sheets of images with titles and the classes' colours, and the leaderboard as a chart."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segmodels import atomic
from segmodels.samples import SegmentationClass, UInt8Array, trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from segmodels.census import Census

CELL_INCHES = 1.7


def sheet(
    path: Path,
    rows: Sequence[Sequence[UInt8Array]],
    *,
    titles: Sequence[str],
    names: Sequence[str],
    classes: Sequence[SegmentationClass],
) -> None:
    """A grid of H x W x 3 images as PNG, each row named at its left, each column titled, the classes' colours below."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    if not rows:
        figure = Figure(figsize=(4, 0.8))
        figure.text(0.5, 0.5, "there is nothing to show", ha="center", va="center", fontsize=9)
        _save(figure, path)
        return
    height, width = rows[0][0].shape[:2]
    cell_height = CELL_INCHES * min(max(height / width, 0.4), 2.5)
    legend_lines = -(-len(trained(classes)) // len(titles)) + 1
    figure = Figure(
        figsize=(CELL_INCHES * len(titles) + 0.6, cell_height * len(rows) + 0.35 + 0.25 * legend_lines), layout="constrained"
    )
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    for y, row in enumerate(rows):
        for x, axis in enumerate(axes[y]):
            axis.set(xticks=[], yticks=[], frame_on=False)
            if x < len(row):
                axis.imshow(row[x], interpolation="nearest", aspect="equal")
            if y == 0:
                axis.set_title(titles[x], fontsize=8)
        axes[y][0].set_ylabel("\n".join(_short(line) for line in names[y].split("\n")), fontsize=7)
    patches = [Patch(facecolor="#{:02x}{:02x}{:02x}".format(*one.color), label=_short(one.name, 24)) for one in trained(classes)]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(titles), fontsize=8, frameon=False)
    _save(figure, path)


MOST_DRAWN, MOST_NAMED = 40, 15
"""Candidates that fit into a picture with a line each, and whose names fit beside their points."""


def leaderboard(path: Path, candidates: Sequence[dict[str, Any]], class_names: Sequence[str], *, num_ranked: int) -> None:
    """Candidates, best on top: mIoU with its 95 % interval at the left, IoU of every class at the right; of many those that are given.

    Each candidate has `name`, `miou`, `miou_low`, `miou_high` and `iou`, a list by class with None where undefined.
    """
    from matplotlib.figure import Figure

    count = len(candidates)
    figure = Figure(figsize=(6.2 + 0.75 * len(class_names), 1.9 + 0.5 * count), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[5, max(0.75 * len(class_names), 2)], sharey=True)
    y = np.arange(count)
    miou = np.array([one["miou"] for one in candidates])
    errors = np.array([[one["miou"] - one["miou_low"], one["miou_high"] - one["miou"]] for one in candidates]).T
    left.barh(y, miou, xerr=np.maximum(errors, 0), color="#0072b2", ecolor="#333333", capsize=4, height=0.6)
    for position, one in zip(y, candidates, strict=True):
        left.text(0.01, position, f"{one['miou']:.3f}", va="center", color="white", fontsize=9, fontweight="bold")
    if count < num_ranked:
        left.set_title(f"{count} of {num_ranked} candidates", fontsize=9)
    left.set(xlim=(0, 1), xlabel="test mIoU, 95 % interval", yticks=y, yticklabels=[one["name"] for one in candidates])
    left.invert_yaxis()
    left.spines[["top", "right"]].set_visible(False)
    values = np.array([[np.nan if v is None else v for v in one["iou"]] for one in candidates], float)
    right.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for row in range(count):
        for column, value in enumerate(values[row]):
            text = "-" if np.isnan(value) else f"{value:.2f}"
            right.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if value < 0.6 else "black")
    right.set(xticks=range(len(class_names)), title="IoU by class")
    right.set_xticklabels([_short(name) for name in class_names], rotation=35, ha="right", fontsize=8)
    right.tick_params(left=False)
    _save(figure, path)


def pareto(path: Path, candidates: Sequence[dict[str, Any]], fronts: Mapping[str, Sequence[str]], chosen: str) -> None:
    """What accuracy costs: mIoU with its interval against the time of an image, and against the number of parameters.

    A line joins the candidates of each cost's front, those that no other beats in both; `chosen` is the one that is put forward.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    costs = (("latency_ms", 1.0, "ms an image"), ("num_parameters", 1e6, "million parameters"))
    for axis, (key, unit, label) in zip(axes, costs, strict=True):
        front = [one for name in fronts[key] for one in candidates if one["name"] == name]
        axis.plot([one[key] / unit for one in front], [one["miou"] for one in front], color="#999999", zorder=1)
        for one in candidates:
            color = "#d55e00" if one["name"] == chosen else "#0072b2"
            spread = [[max(0, one["miou"] - one["miou_low"])], [max(0, one["miou_high"] - one["miou"])]]
            axis.errorbar(one[key] / unit, one["miou"], yerr=spread, fmt="o", color=color, ecolor="#bbbbbb", capsize=3)
            if len(candidates) <= MOST_NAMED or one in front or one["name"] == chosen:
                place = one[key] / unit, one["miou"]
                axis.annotate(_short(one["name"]), place, (6, 5), textcoords="offset points", fontsize=8)
        axis.set(xscale="log", xlabel=label)
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.margins(x=0.35)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("test mIoU, 95 % interval")
    figure.suptitle(f"Put forward: {_short(chosen, 40)}", fontsize=10, color="#d55e00")
    _save(figure, path)


def calibration(path: Path, counted: dict[str, Any]) -> None:
    """The reliability diagram: how often a model is right by how sure it is, and how many pixels it is so sure of.

    `counted` is `calibration` of scores.json.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    bins = counted["bins"]
    figure = Figure(figsize=(5, 5.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=[4, 1], sharex=True)
    middle, width = (np.arange(len(bins)) + 0.5) / len(bins), 0.94 / len(bins)
    there = [position for position, one in enumerate(bins) if one["num_pixels"]]
    upper.bar(middle[there], [bins[one]["right"] for one in there], width, color="#0072b2", label="right")
    upper.plot(
        [bins[one]["sure"] for one in there], [bins[one]["sure"] for one in there], "o--", color="#d55e00", label="as sure"
    )
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of these pixels that are right")
    error = counted["error"]
    upper.set_title("no pixels" if error is None else f"expected calibration error {error:.1%}", fontsize=10)
    upper.legend(loc="upper left", frameon=False, fontsize=9)
    total = max(1, sum(one["num_pixels"] for one in bins))
    lower.bar(middle, [one["num_pixels"] / total for one in bins], width, color="#999999")
    lower.set(xlabel="how sure the model is", ylabel="pixels")
    for axis in (upper, lower):
        axis.xaxis.set_major_formatter(PercentFormatter(1))
        axis.yaxis.set_major_formatter(PercentFormatter(1))
        axis.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def census(path: Path, counted: "Census") -> None:
    """A dataset's classes by split, in pixels and in images, and the sizes of its images.

    Shares of pixels are on a logarithmic axis: what is rare is what matters.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    names = [_short(one.name) for one in counted.classes]
    splits = [split for split, number in counted.num_images.items() if number]
    figure = Figure(figsize=(11, 2.4 + 0.28 * len(names)), layout="constrained")
    pixels, images, sizes = figure.subplots(1, 3, width_ratios=[4, 4, 3])
    y, height = np.arange(len(names)), 0.8 / len(splits)
    colors = {"train": "#0072b2", "val": "#e69f00", "test": "#009e73", "vault": "#999999"}
    for position, split in enumerate(splits):
        offset = y + (position - (len(splits) - 1) / 2) * height
        shares = [one.share[split] or 0 for one in counted.classes]
        pixels.barh(offset, shares, height, color=colors[split], label=f"{split}: {counted.num_images[split]} images")
        seen = [one.num_images[split] / counted.num_images[split] for one in counted.classes]
        images.barh(offset, seen, height, color=colors[split])
    present = [share for one in counted.classes for share in one.share.values() if share]
    pixels.set(xscale="log", xlim=(min(present, default=0.01) / 2, 1), xlabel="share of the pixels whose class is known")
    images.set(xlim=(0, 1), xlabel="share of the images that show it")
    pixels.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    images.xaxis.set_major_formatter(PercentFormatter(1))
    for axis in (pixels, images):
        axis.set(yticks=y, yticklabels=names if axis is pixels else [])
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
    heights, widths, numbers = (np.array(column) for column in zip(*counted.sizes, strict=True))
    sizes.scatter(widths, heights, s=20 + 180 * numbers / numbers.max(), color="#0072b2", alpha=0.6)
    sizes.set(xlabel="width in pixels", ylabel="height", xlim=(0, 1.15 * widths.max()), ylim=(0, 1.15 * heights.max()))
    sizes.set_title(f"{len(counted.sizes)} size{'s' if len(counted.sizes) > 1 else ''}, {numbers.sum()} images", fontsize=9)
    sizes.spines[["top", "right"]].set_visible(False)
    told = [counted.task]
    if counted.void is not None and counted.void["train"]:
        told.append(f"{counted.void['train']:.1%} of the training pixels are void")
    empty = sum((counted.empty or {}).values())
    if empty:
        told.append(f"{empty} images show nothing but background")
    figure.suptitle(", ".join(told), fontsize=9)
    figure.legend(loc="outside lower left", ncols=4, fontsize=8, frameon=False)
    _save(figure, path)


def moves(path: Path, names: Sequence[str], before: Sequence[float | None], after: Sequence[float | None]) -> None:
    """How each class's share of the pixels moved from one version to the next, on a logarithmic axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.4 + 0.3 * len(names)), layout="constrained")
    axis = figure.subplots()
    for row, (one, other) in enumerate(zip(before, after, strict=True)):
        if one and other:
            axis.annotate("", (other, row), (one, row), arrowprops={"arrowstyle": "->", "color": "#555555"})
    for values, color, label in ((before, "#999999", "before"), (after, "#0072b2", "after")):
        there = [(row, value) for row, value in enumerate(values) if value]
        axis.scatter([value for _, value in there], [row for row, _ in there], color=color, label=label, zorder=3)
    axis.set(xscale="log", yticks=range(len(names)), yticklabels=[_short(name) for name in names])
    axis.set_xlabel("share of the pixels whose class is known")
    axis.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    axis.set_xlim(right=1)
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    _save(figure, path)


def _save(figure: "Figure", path: Path) -> None:
    with atomic.file(path) as partial:
        # no date and no version in the file: the same content gives the same bytes, which DVC compares
        figure.savefig(partial, format="png", dpi=110, metadata={"Software": None})


def _short(text: str, length: int = 18) -> str:
    """Shortened in the middle, with `$` taken literally by matplotlib."""
    kept = text if len(text) <= length else f"{text[: length // 2 - 1]}…{text[-(length // 2 - 1) :]}"
    return kept.replace("$", r"\$")
