"""What runs a bundle's network: torch, OpenVINO or ONNX Runtime. All take and give the same."""

import threading
from typing import Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from segmodels import device, onnx_file, quantized
from segmodels.bundle import Bundle
from segmodels.errors import BundleError, InputError
from segmodels.resizing import fitted_size
from segmodels.samples import num_logits, trained

Name = Literal["torch", "openvino", "onnxruntime"]
Precision = Literal["bf16", "fp32", "int8"]
NAMES: tuple[Name, ...] = get_args(Name)
TRIED_PX = 64, 64
"""Height and width of the image that an exported network is tried on."""
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
        InputError: the backend runs on CPUs alone, does not compute in this precision, or cannot run the network.
        BundleError: the bundle has no such file, or it is not to be trusted.
    """
    on = on or (device.default() if name in ("auto", "torch") else torch.device("cpu"))
    chosen = default(on, bundle) if name == "auto" else name
    if precision == "bf16" and chosen == "onnxruntime":
        raise InputError(f"precision: {chosen} computes in fp32; leave it out")
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
    eight_bits = precision == "int8"
    model, weights = (
        (bundle.read(quantized.XML), bundle.read(quantized.BIN)) if eight_bits else (bundle.read(onnx_file.NAME), b"")
    )
    if not eight_bits:
        onnx_file.refuse_what_leads_out(model, bundle.folder / onnx_file.NAME)
    often = fitted_size(*bundle.facts.largest_px, bundle.facts.size_px)
    try:
        if chosen == "openvino":
            made: Backend = OpenVino(model, weights, precision=precision or device.precision("auto", on), often=often)
        else:
            made = OnnxRuntime(model)
        logits = made(
            torch.zeros(1, bundle.facts.channels, *TRIED_PX, dtype=torch.uint16 if bundle.facts.bits == 16 else torch.uint8)
        )
    except (MemoryError, ImportError, OSError):  # of this machine, not of the bundle
        raise
    except Exception as error:  # each library raises its own
        told = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"{bundle.folder}: {chosen} cannot run its network ({told}); take another backend, such as torch"
        ) from error
    expected = (1, num_logits(bundle.facts.task, len(trained(bundle.classes))), *TRIED_PX)
    if logits.shape != expected:
        raise InputError(
            f"{bundle.folder}: its network gives scores of the shape {tuple(logits.shape)} on {chosen}, expected {expected}; take another backend, such as torch"
        )
    return made


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
    """Intel's runtime, which is the fastest on CPUs of all makers.

    It sees one image at a time, which costs no more, so that an image's scores are the same whatever comes with it.

    Args:
        often: the height and width that most images have. Compiled for that alone a network takes a tenth less, in 8 bits a fifth.
    """

    name: Name = "openvino"
    device = torch.device("cpu")

    def __init__(self, model: bytes, weights: bytes = b"", *, precision: Precision, often: tuple[int, int]) -> None:
        import openvino

        self.precision, self._often = precision, often
        hints = {
            "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp32": "f32", "int8": "f32"}[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        core = openvino.Core()
        network = core.read_model(model, weights)
        self._of_any_size = core.compile_model(network, "CPU", hints)
        [images] = network.inputs
        network.reshape([1, images.partial_shape[1], *often])
        self._of_that_size = core.compile_model(network, "CPU", hints)
        self._one_at_a_time = threading.Lock()  # a network has one place for what goes in and comes out

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        network = self._of_that_size if images_BCHW.shape[2:] == self._often else self._of_any_size
        with self._one_at_a_time:
            logits = [network([np.ascontiguousarray(image.numpy())])[0] for image in images_BCHW.split(1)]
        return torch.from_numpy(logits[0] if len(logits) == 1 else np.concatenate(logits))


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
