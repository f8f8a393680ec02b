"""What runs a bundle's network: torch, OpenVINO or ONNX Runtime. All take and give the same."""

import threading
from typing import Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from segmodels import device, onnx_file, quantized
from segmodels.bundle import Bundle
from segmodels.errors import BundleError, InputError

Name = Literal["torch", "openvino", "onnxruntime"]
Precision = Literal["bf16", "fp32", "int8"]
NAMES: tuple[Name, ...] = get_args(Name)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class Backend(Protocol):
    """A network that is ready to run.

    Attributes:
        name: of the library.
        device: where it computes, and in which precision.
    """

    name: Name
    device: torch.device

    @property
    def precision(self) -> Precision: ...

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """Images on the CPU, uint8 or uint16, of any size -> logits of the same size, on any device."""
        ...


def default(on: torch.device, bundle: Bundle) -> Name:
    """OpenVINO on a CPU, where it takes a quarter of torch's time; torch on a GPU, or where a bundle has no ONNX file."""
    return "openvino" if on.type == "cpu" and bundle.has_onnx else "torch"


def load(
    bundle: Bundle, name: Name | Literal["auto"] = "auto", *, on: torch.device | None = None, precision: Precision | None = None
) -> Backend:
    """Make a bundle's network ready to run.

    Args:
        on: the first GPU if there is one, else the CPU.
        precision: bf16 where that is the faster one; int8 where the bundle has it, on OpenVINO alone.

    Raises:
        InputError: the backend runs on CPUs alone, or does not compute in 8 bits.
        BundleError: the bundle has no such file, or it is not to be trusted.
    """
    on = on or (device.default() if name in ("auto", "torch") else torch.device("cpu"))
    chosen = default(on, bundle) if name == "auto" else name
    if precision == "int8" and chosen != "openvino":
        raise InputError(f"precision: {chosen} does not compute in int8; take openvino, on a CPU")
    if chosen == "torch":
        assert precision != "int8"
        return Torch(bundle, on, device.precision(precision or "auto", on))
    if on.type != "cpu":
        raise InputError(f"backend: {chosen} runs on the CPU, not on {on}; take torch there")
    if not bundle.has_onnx:
        raise BundleError(f"{bundle.folder}: has no {onnx_file.NAME}, which {chosen} runs; train it with `training.export: onnx`")
    if precision == "int8" and not bundle.has_int8:
        raise BundleError(f"{bundle.folder}: has no {quantized.XML}; train it with `training.export: int8`")
    if chosen == "openvino" and precision == "int8":
        return OpenVino(bundle.read(quantized.XML), bundle.read(quantized.BIN), precision=precision)
    model = bundle.read(onnx_file.NAME)
    onnx_file.refuse_what_leads_out(model, bundle.folder / onnx_file.NAME)
    if chosen == "openvino":
        return OpenVino(model, precision=precision or device.precision("auto", on))
    return OnnxRuntime(model)


class Torch:
    """The network as it was trained."""

    name: Name = "torch"

    def __init__(self, bundle: Bundle, on: torch.device, precision: device.Precision) -> None:
        self.device, self.precision = on, precision
        self._segmenter = bundle.segmenter.to(on)

    @torch.inference_mode()
    def __call__(self, images_BCHW: Tensor) -> Tensor:
        with device.autocast(self.device, self.precision):
            logits: Tensor = self._segmenter(images_BCHW.to(self.device))
        return logits


class OpenVino:
    """Intel's runtime, which is the fastest on CPUs of all makers."""

    name: Name = "openvino"
    device = torch.device("cpu")

    def __init__(self, model: bytes, weights: bytes = b"", *, precision: Precision) -> None:
        import openvino

        self.precision = precision
        hints = {
            "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp32": "f32", "int8": "f32"}[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        core = openvino.Core()
        self._network = core.compile_model(core.read_model(model, weights), "CPU", hints)
        self._one_at_a_time = threading.Lock()  # the network has one place for what goes in and comes out

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        with self._one_at_a_time:
            return torch.from_numpy(self._network([np.ascontiguousarray(images_BCHW.numpy())])[0])


class OnnxRuntime:
    """What most devices run."""

    name: Name = "onnxruntime"
    device = torch.device("cpu")
    precision: Precision = "fp32"

    def __init__(self, model: bytes) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        [logits] = self._session.run(None, {onnx_file.IMAGES: images_BCHW.numpy()})
        return torch.from_numpy(logits)
