"""The outlines of what was predicted, as COCO has them: exact, along the edges of pixels."""

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco

from segmodels.samples import BoolArray, Int32Array, SegmentationClass, UInt8Array


def categories(classes: Sequence[SegmentationClass]) -> list[dict[str, Any]]:
    """COCO's list of classes; ids begin at 1, in the order of the labelling's indices."""
    return [{"id": index + 1, "name": one.name, "supercategory": ""} for index, one in enumerate(classes)]


def annotations(labelling: UInt8Array, num_classes: int, *, image_id: int) -> Iterator[dict[str, Any]]:
    """Every connected part of every class of a labelling (see labels.py) as an annotation without id.

    A part with holes is given as run lengths, as COCO's polygons cannot have any.
    """
    for index in range(num_classes):
        layer = labelling[index] == 1 if labelling.ndim == 3 else labelling == index
        number, parts, stats, _ = cv2.connectedComponentsWithStats(layer.astype(np.uint8), connectivity=8)
        for part in range(1, number):
            left, top, width, height, area = (int(value) for value in stats[part])
            inside = parts[top : top + height, left : left + width] == part
            yield {
                "image_id": image_id,
                "category_id": index + 1,
                "segmentation": _segmentation(inside, (left, top), layer.shape),
                "area": area,
                "bbox": [left, top, width, height],
                "iscrowd": 0,
            }


def _segmentation(part: BoolArray, corner: tuple[int, int], size_HW: tuple[int, ...]) -> list[list[int]] | dict[str, Any]:
    # of pixels twice as large in each direction OpenCV gives the outermost halves, from which follow the edges between pixels
    doubled = np.kron(part, np.ones((2, 2), np.uint8)).astype(np.uint8)
    outlines, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if len(outlines) == 1:
        points = (outlines[0].reshape(-1, 2) + 1) // 2 + np.array(corner)
        return [_corners(points).reshape(-1).tolist()]
    return {"size": list(size_HW), "counts": _run_lengths(part, corner, size_HW)}


def _run_lengths(part: BoolArray, corner: tuple[int, int], size_HW: tuple[int, ...]) -> str:
    """Packed run lengths down the columns of the whole image, made from the part alone."""
    left, top = corner
    height = size_HW[0]
    columns, rows = np.nonzero(part.T)
    position = (columns + left) * height + rows + top
    first = np.flatnonzero(np.diff(position, prepend=-2) > 1)  # where pixels do not go on from the one before
    begins, ends = position[first], np.append(position[first[1:] - 1], position[-1]) + 1
    edges = np.concatenate([[0], np.stack([begins, ends], axis=1).reshape(-1), [height * size_HW[1]]])
    runs: Any = {"size": list(size_HW), "counts": np.diff(edges).tolist()}
    packed = coco.frPyObjects(runs, *size_HW)["counts"]
    assert isinstance(packed, bytes)
    return packed.decode("ascii")


def _corners(points: Int32Array) -> Int32Array:
    """An outline without points that stand twice, or on the line between their neighbours."""
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns: Int32Array = points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
    return turns
