"""A network as an ONNX file that stands alone: any batch, height and width, with the normalisation in it, and saying what it is.

Input `images`: batch x channels x height x width in the values they were taken in, uint8 or uint16. Output `logits`: batch x num_logits x
height x width, float32. The file's `metadata_props` hold what its user must know besides, see `bundle.py`.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch.export import Dim

from segmodels.errors import BundleError
from segmodels.network import Segmenter
from segmodels.samples import ImageKind

if TYPE_CHECKING:  # training and torch's predictions do without it
    import onnx
    from google.protobuf.message import Message

NAME: Literal["model.onnx"] = "model.onnx"
IMAGES, LOGITS = "images", "logits"


def export(segmenter: Segmenter, path: Path, *, kind: ImageKind, metadata: Mapping[str, str]) -> None:
    """Write a network, which is on the CPU in eval mode, as one file. Takes some ten seconds, most of them torch's."""
    import onnx

    side = segmenter.min_size_px + 32
    # a batch of one, or a square, would be taken for what is always so
    example = torch.from_numpy(np.zeros((2, kind.channels, side, side + 32), kind.dtype))
    free = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    with warnings.catch_warnings(), _quiet("torch.onnx", "onnxscript", "onnx_ir"), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter's, of its own parts
        program = torch.onnx.export(
            segmenter,
            (example,),
            input_names=[IMAGES],
            output_names=[LOGITS],
            dynamic_shapes=(free,),
            verbose=False,
        )
    assert program is not None
    program.save(path, external_data=False)
    model = onnx.load(path)
    _name_axes(model.graph)
    onnx.helper.set_model_props(model, dict(metadata))
    model.doc_string = f"{metadata.get('candidate', '')}: image segmentation, made by segmodels"
    onnx.save(model, path)


def _name_axes(graph: "onnx.GraphProto") -> None:
    """Call the free axes what they are, where the exporter has numbers for them."""
    shape = graph.input[0].type.tensor_type.shape.dim
    names = {shape[axis].dim_param: name for axis, name in ((0, "batch"), (2, "height"), (3, "width"))}
    for value in (*graph.input, *graph.output, *graph.value_info):
        for one in value.type.tensor_type.shape.dim:
            if one.dim_param in names:
                one.dim_param = names[one.dim_param]


def refuse_what_leads_out(content: bytes, path: Path) -> None:
    """Refuse the content of a file whose tensors lie in other files, before any runtime opens those.

    Raises:
        BundleError: it does, or is no ONNX file.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(content)
        if not model.graph.name:
            raise ValueError("there is no graph in it")
    except Exception as error:  # protobuf has errors of many kinds for what is damaged
        raise BundleError(f"{path}: is no ONNX file ({type(error).__name__}); train the bundle again") from error
    for one in _messages(model):
        if isinstance(one, onnx.TensorProto) and (one.external_data or one.data_location == onnx.TensorProto.EXTERNAL):
            raise BundleError(
                f"{path}: its tensor {one.name!r} lies in another file; a bundle's model is one file: train it again"
            )


def _messages(message: "Message") -> Iterator["Message"]:
    """All that a message is made of: tensors stand in initialisers, attributes, sparse tensors, functions, graphs in graphs."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in value if field.is_repeated else [value]:
                yield from _messages(one)


class _quiet:
    """No word from some loggers meanwhile."""

    def __init__(self, *names: str) -> None:
        self.loggers = [logging.getLogger(name) for name in names]

    def __enter__(self) -> None:
        self.levels = [one.level for one in self.loggers]
        for one in self.loggers:
            one.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        for one, level in zip(self.loggers, self.levels, strict=True):
            one.setLevel(level)
