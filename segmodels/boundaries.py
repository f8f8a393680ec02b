"""How well borders are met: boundary IoU, which large objects do not win by their inside.

Source: Cheng et al. 2021, "Boundary IoU" (arXiv:2103.16562): of every class only the pixels near its border count, in truth and in
prediction; near is within 2 % of the image's diagonal.
"""

import cv2
import numpy as np

from segmodels.samples import IGNORE_INDEX, BoolArray, Int64Array, UInt8Array

NEAR = 0.02
"""Of the image's diagonal."""


def counts(prediction: UInt8Array, truth: UInt8Array, num_classes: int, *, overlap: bool = False) -> Int64Array:
    """Pixels near borders by class, 3 x C: of both, of the truth, of the prediction; void pixels of the truth are left out.

    `prediction` and `truth` are labellings of one image (see labels.py): H x W or, with `overlap`, C x H x W of 0 and 1.
    """
    if overlap:
        layers = [counts(one, other, 2)[:, 1] for one, other in zip(prediction, truth, strict=True)]
        return np.stack(layers, axis=1)
    known = truth != IGNORE_INDEX
    true, predicted = near_border(truth, known), near_border(prediction, known)
    return np.stack(
        [
            np.bincount(one, minlength=num_classes)
            for one in (truth[true & predicted & (truth == prediction)], truth[true], prediction[predicted])
        ]
    )


def near_border(labels_HW: UInt8Array, known_HW: BoolArray) -> BoolArray:
    """The known pixels that have a known one of another label, or the image's end, near them: in a square around them.

    Where knowledge ends is no border: there a prediction would have to have one too.
    """
    height, width = labels_HW.shape
    distance = max(1, round(NEAR * float(np.hypot(height, width))))
    square = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    least = cv2.erode(np.where(known_HW, labels_HW, np.uint8(255)), square)
    most = cv2.dilate(np.where(known_HW, labels_HW, np.uint8(0)), square)
    near: BoolArray = least != most
    # beyond the image there is none of any class, as in the authors' program
    for edge in (np.s_[:distance], np.s_[-distance:], np.s_[:, :distance], np.s_[:, -distance:]):
        near[edge] = True
    return near & known_HW
