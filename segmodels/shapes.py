"""Draws the demo dataset: anti-aliased shapes on textured, noisy backgrounds. The same seed draws the same files.

Hard enough that a worse network scores worse: shapes occlude each other, come at many sizes and angles, and rings differ from discs
only by their hole, through which what lies behind shows and is labelled. Colour is a hint and no proof: every kind has a hue that it
tends to, but the hues overlap, and the background may have any of them.
"""

import colorsys
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from segmodels import atomic
from segmodels.errors import InputError
from segmodels.images import write_mask
from segmodels.samples import SegmentationClass, UInt8Array, default_color
from segmodels.watching import Progress, silent

NAMES = ("background", "disc", "square", "triangle", "ring")
CLASSES = [SegmentationClass(NAMES[0], 0, (120, 120, 120))]
CLASSES += [SegmentationClass(name, value, default_color(value)) for value, name in enumerate(NAMES) if value > 0]
MARKER = "shapes.json"

_HUE_SPREAD = 0.03  # standard deviation, of the whole circle; the kinds are 0.25 apart
_SUPERSAMPLING = 4  # shapes are drawn this much larger and averaged: anti-aliased edges


@dataclass(frozen=True)
class Drawing:
    """`image` H x W x 3; `mask` H x W of class indices; `instances` H x W uint16, 0 for the background, else 1, 2, ..."""

    image: UInt8Array
    mask: UInt8Array
    instances: np.ndarray


def write(destination: Path, *, count: int, size_px: tuple[int, int], seed: int, progress: Progress[int] = silent) -> None:
    """Write the dataset in the format `folder`, with instance ids in `instances/`, whole or not at all.

    Raises:
        InputError: `destination` holds something other than a drawn dataset.
    """
    if destination.exists() and any(destination.iterdir()) and not (destination / MARKER).is_file():
        raise InputError(
            f"{destination}: holds a dataset that was not drawn by `segmodels shapes`; "
            f"draw into another folder, or run the demo in a fresh clone"
        )
    with atomic.folder(destination) as partial:
        for name in ("images", "masks", "instances"):
            (partial / name).mkdir()
        for index in progress(range(count), "drawing shapes", count):
            drawing = draw(size_px=size_px, seed=(seed, index))
            file = f"shapes_{index:05d}.png"
            Image.fromarray(drawing.image).save(partial / "images" / file)
            write_mask(partial / "masks" / file, drawing.mask, CLASSES)
            Image.fromarray(drawing.instances).save(partial / "instances" / file)
        classes = [{"id": one.value, "name": one.name, "color": list(one.color)} for one in CLASSES]
        (partial / "classes.json").write_text(json.dumps({"classes": classes}, indent=1) + "\n")
        (partial / MARKER).write_text(json.dumps({"count": count, "size_px": list(size_px), "seed": seed}) + "\n")


def draw(*, size_px: tuple[int, int], seed: int | tuple[int, ...]) -> Drawing:
    """One picture; a pure function of its arguments."""
    rng = np.random.default_rng(seed)
    height, width = size_px
    image = _texture(rng, size_px, _dull(rng))
    mask = np.zeros(size_px, np.uint8)
    instances = np.zeros(size_px, np.uint16)
    for instance in range(1, int(rng.integers(3, 7)) + 1):
        kind = int(rng.integers(1, len(NAMES)))
        radius = rng.uniform(0.12, 0.3) * min(size_px)
        center = rng.uniform([0.08 * width, 0.08 * height], [0.92 * width, 0.92 * height])
        coverage = _coverage(NAMES[kind], size_px, center, radius, rng)
        filling = _texture(rng, size_px, _hue_near(rng, kind))
        image = image + (filling - image) * coverage[..., None]
        inside = coverage >= 0.5
        mask[inside] = kind
        instances[inside] = instance
    light = 1 + rng.uniform(-0.25, 0.25) * np.linspace(-1, 1, width)[None, :, None]
    noisy = image * light + rng.normal(0, rng.uniform(2, 12), image.shape)
    # what later shapes cover completely leaves no instance behind: number the rest without gaps
    _, numbered = np.unique(np.append(instances.reshape(-1), 0), return_inverse=True)
    return Drawing(np.clip(noisy, 0, 255).astype(np.uint8), mask, numbered[:-1].reshape(size_px).astype(np.uint16))


def _texture(rng: np.random.Generator, size_px: tuple[int, int], color: np.ndarray) -> np.ndarray:
    """A colour and a neighbour of it mixed by smooth noise and stripes, H x W x 3 float."""
    height, width = size_px
    coarse = rng.uniform(0, 1, (int(rng.integers(2, 9)), int(rng.integers(2, 9)))).astype(np.float32)
    cloud = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[0:height, 0:width]
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 24)
    stripes = 0.5 + 0.5 * np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
    share = rng.uniform(0, 0.6)
    blend = np.clip((1 - share) * cloud + share * stripes, 0, 1)[..., None]
    other = np.clip(color + rng.uniform(-40, 40, 3), 0, 255)
    mixed: np.ndarray = color * blend + other * (1 - blend)
    return mixed


def _hue_near(rng: np.random.Generator, kind: int) -> np.ndarray:
    """A strong colour whose hue lies around the kind's own, RGB 0..255."""
    hue = (kind / (len(NAMES) - 1) + rng.normal(0, _HUE_SPREAD)) % 1
    return np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.5, 0.9), rng.uniform(0.5, 1))) * 255


def _dull(rng: np.random.Generator) -> np.ndarray:
    """A weak colour of any hue, RGB 0..255."""
    return np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0, 0.45), rng.uniform(0.2, 0.9))) * 255


def _coverage(name: str, size_px: tuple[int, int], center: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """The share of every pixel that the shape covers, H x W float32 in 0..1."""
    scale = _SUPERSAMPLING
    canvas = np.zeros((size_px[0] * scale, size_px[1] * scale), np.uint8)
    middle, far = center * scale, radius * scale
    turn, stretch = rng.uniform(0, 2 * np.pi), rng.uniform(0.75, 1.0)
    if name in ("disc", "ring"):
        box = (tuple(middle.tolist()), (2 * far, 2 * far * stretch), float(np.degrees(turn)))
        cv2.ellipse(canvas, box, 255, thickness=-1)
        if name == "ring":
            hole = (box[0], (far, far * stretch), box[2])
            cv2.ellipse(canvas, hole, 0, thickness=-1)
    else:
        corners = 4 if name == "square" else 3
        angles = turn + np.arange(corners) * 2 * np.pi / corners
        points = middle + far * np.stack([np.cos(angles), np.sin(angles) * (1 if corners == 3 else stretch)], axis=1)
        cv2.fillPoly(canvas, [points.round().astype(np.int32)], 255)
    covered = cv2.resize(canvas, size_px[::-1], interpolation=cv2.INTER_AREA)
    share: np.ndarray = covered.astype(np.float32) / 255
    return share
