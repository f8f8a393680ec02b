"""A network in whole numbers of 8 bits, which CPUs compute in a fraction of the time: OpenVINO's form, quantised after training with NNCF.

Ranges of values are those that training images cause (arXiv:1712.05877). What it costs in accuracy shows in the agreement with the network
that it was made from, which `evaluate` looks at before anything is predicted with it.
"""

import contextlib
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from segmodels.samples import ImageArray

XML: Literal["model.int8.xml"] = "model.int8.xml"
BIN: Literal["model.int8.bin"] = "model.int8.bin"
CALIBRATING = 300
"""Training images that ranges are taken from: more change little."""


def export(onnx_path: Path, folder: Path, images: Sequence[ImageArray]) -> None:
    """Write it beside the ONNX file that it is made from. Takes as long as some hundred predictions.

    Args:
        images: as the network sees them, H x W x channels each.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars, and what it says when it is imported
        import nncf
        import openvino

        nncf.set_log_level(logging.ERROR)
        seen = [np.ascontiguousarray(image.transpose(2, 0, 1)[None]) for image in images]
        model = openvino.Core().read_model(onnx_path)
        quantised = nncf.quantize(model, nncf.Dataset(seen), preset=nncf.QuantizationPreset.MIXED, subset_size=len(seen))
    openvino.save_model(quantised, folder / XML, compress_to_fp16=False)
