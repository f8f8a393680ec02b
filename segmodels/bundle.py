"""The bundle: everything a prediction needs, in one folder without pickle.

`model.safetensors` holds the weights and `model.onnx` the same network as other programs run it (`model.int8.*` in 8 bits); `bundle.json` the architecture, the
classes, the preprocessing and the hash of each of them. Loading runs no code from the folder. `README.md` is the model card, which nothing
reads but people and Hugging Face's hub.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pydantic
import safetensors.torch
import torch
from torch import Tensor

from segmodels import atomic, card, digests, network, onnx_file, quantized, tiling
from segmodels.bundle_facts import ClassFacts, Export, Facts, FileName
from segmodels.errors import BundleError, InputError
from segmodels.network import Segmenter
from segmodels.samples import RGB, ImageArray, ImageKind, SegmentationClass, Task, num_logits, trained

WEIGHTS: Literal["model.safetensors"] = "model.safetensors"
ONNX = onnx_file.NAME
FACTS = "bundle.json"

MAX_HEADER_BYTES = 2**20
"""Of a safetensors file's list of tensors: a thousand of them take a tenth of it."""
DECIDING = ("segmodels", "torch", "segmentation-models-pytorch", "timm", "albumentations", "opencv-python-headless")
"""Packages whose version may change a mask."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are those that it was written with."""

    folder: Path
    facts: Facts
    sha256: str

    @property
    def classes(self) -> list[SegmentationClass]:
        return [one.to_class() for one in self.facts.classes]

    @property
    def kind(self) -> ImageKind:
        """What its images are."""
        return ImageKind(self.facts.channels, self.facts.bits)

    @property
    def has_onnx(self) -> bool:
        return ONNX in self.facts.files

    @property
    def has_int8(self) -> bool:
        return {quantized.XML, quantized.BIN} <= self.facts.files.keys()

    def read(self, name: FileName) -> bytes:
        """The bytes of one of its files, which are those that it was loaded with: a training may have replaced the folder since.

        Raises:
            BundleError: they are others, or gone.
        """
        try:
            content = (self.folder / name).read_bytes()
        except FileNotFoundError:
            raise _missing(self.folder, name) from None
        if hashlib.sha256(content).hexdigest() != self.facts.files[name]:
            raise _another(self.folder / name)
        return content

    @cached_property
    def segmenter(self) -> Segmenter:
        """The network on the CPU in eval mode.

        Raises:
            BundleError: the weights are not those of this network.
        """
        facts = self.facts

        def build() -> Segmenter:
            return network.build(
                architecture=facts.architecture,
                encoder=facts.encoder,
                weights=None,
                options=facts.options,
                num_logits=num_logits(facts.task, len(trained(self.classes))),
                mean=facts.mean,
                std=facts.std,
            )

        content = self.read(WEIGHTS)
        try:
            weights = safetensors.torch.load(content)
            _refuse_other_shapes(_without_memory(build), weights)
            segmenter = build()
            segmenter.network.load_state_dict(weights)
        except (InputError, RuntimeError, safetensors.SafetensorError) as error:
            raise BundleError(
                f"{self.folder}: its weights do not fit {facts.architecture} with {facts.encoder}: {error}"
            ) from error
        return segmenter.eval()


def _without_memory(build: Callable[[], Segmenter]) -> Mapping[str, Tensor] | None:
    """The tensors of a network that is built without their values, whatever its options ask for; None where its code looks at values (mit_b0)."""
    try:
        with torch.device("meta"):
            return build().network.state_dict()
    except RuntimeError:
        return None


def _refuse_other_shapes(expected: Mapping[str, Tensor] | None, found: Mapping[str, Tensor]) -> None:
    """Raises BundleError. Nothing is expected where it is not known."""
    if expected is None:
        return
    names = [
        name
        for name in sorted({*expected, *found})
        if getattr(expected.get(name), "shape", 0) != getattr(found.get(name), "shape", 0)
    ]
    if names:
        shapes = [tuple(one[names[0]].shape) if names[0] in one else "missing" for one in (expected, found)]
        raise BundleError(f"{names[0]} is {shapes[1]}, expected {shapes[0]}; {len(names)} of {len(expected)} differ")


def save(
    folder: Path,
    segmenter: Segmenter,
    *,
    candidate: str,
    architecture: str,
    encoder: str,
    options: dict[str, Any],
    task: Task,
    classes: Sequence[SegmentationClass],
    size_px: tuple[int, int],
    scale: float,
    largest_px: tuple[int, int],
    kind: ImageKind = RGB,
    thresholds: Sequence[float] | None = None,
    training: dict[str, Any],
    dataset_sha256: str,
    git_commit: str | None,
    export: Export = "onnx",
    calibration: Sequence[ImageArray] = (),
) -> None:
    """Write a bundle, whole or not at all; see `Facts`.

    Args:
        export: what else the network is written as: ONNX takes some ten seconds, and 8 bits as long as predicting `calibration`, images as
            the network sees them.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in segmenter.network.state_dict().items()}
    told: dict[str, Any] = {
        "candidate": candidate,
        "architecture": architecture,
        "encoder": encoder,
        "task": task,
        "size_px": size_px,
        "scale": scale,
        "largest_px": largest_px,
        **kind._asdict(),
        "mean": segmenter.mean.flatten().tolist(),
        "std": segmenter.std.flatten().tolist(),
        "thresholds": None if thresholds is None else list(thresholds),
        "dataset_sha256": dataset_sha256,
    }
    with atomic.folder(folder) as partial:
        safetensors.torch.save_file(tensors, partial / WEIGHTS)
        if export != "none":
            onnx_file.export(segmenter.cpu().eval(), partial / ONNX, kind=kind, metadata=_metadata(told, trained(classes)))
        if export == "int8":
            quantized.export(partial / ONNX, partial, calibration)
        facts = Facts(
            **told,
            options=options,
            num_parameters=sum(parameter.numel() for parameter in segmenter.parameters()),
            classes=[ClassFacts(**one.to_dict()) for one in classes],
            training=training,
            git_commit=git_commit,
            versions={name: importlib.metadata.version(name) for name in DECIDING},
            files={path.name: digests.of_file(path) for path in partial.iterdir()},  # type: ignore[misc]
        )
        atomic.write_json(partial / FACTS, facts.model_dump(mode="json"))
        atomic.write_text(partial / card.NAME, card.text(facts))


def _metadata(told: dict[str, Any], classes: Sequence[SegmentationClass]) -> dict[str, str]:
    """What goes into the ONNX file, where every value is a text: JSON, but for what is a text already."""
    every = told | {"class_names": [one.name for one in classes], "palette": [one.color for one in classes]}
    every |= {"tile_px": told["size_px"], "overlap": tiling.OVERLAP}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in every.items()}


def load(folder: Path) -> Bundle:
    """Load a bundle; its network is built when it is asked for.

    Raises:
        BundleError: a file is missing or damaged, or is not the one that bundle.json names.
    """
    facts = read_facts(folder)
    for name, digest_of_file in facts.files.items():
        if not (folder / name).is_file():
            raise _missing(folder, name)
        if digests.of_file(folder / name) != digest_of_file:
            raise _another(folder / name)
    _check_header(folder / WEIGHTS)
    return Bundle(folder, facts, digest(folder))


def _check_header(path: Path) -> None:
    """Of a safetensors file, before a library sees it: its list of tensors is JSON that somebody else may have written."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER_BYTES:
        raise BundleError(
            f"{path}: its list of tensors takes {length} bytes; expected at most {MAX_HEADER_BYTES}: train it again"
        )


def read_facts(folder: Path) -> Facts:
    """What a bundle says of itself.

    Raises:
        BundleError: bundle.json is missing or damaged, or names no weights.
    """
    try:
        facts = Facts.model_validate_json(_text(folder))
    except pydantic.ValidationError as error:
        raise BundleError(f"{folder / FACTS}: is damaged or of another version: {error}") from error
    if WEIGHTS not in facts.files:
        raise BundleError(f"{folder / FACTS}: names no {WEIGHTS}; fetch or train the bundle again")
    return facts


def digest(folder: Path) -> str:
    """The content hash of a bundle: of bundle.json, which names the hashes of its other files."""
    return hashlib.sha256(_text(folder)).hexdigest()


def _text(folder: Path) -> bytes:
    if not (folder / FACTS).is_file():
        raise _missing(folder, FACTS)
    return (folder / FACTS).read_bytes()


def _another(path: Path) -> BundleError:
    return BundleError(f"{path}: is not the file that {FACTS} was written for; fetch or train the bundle again")


def _missing(folder: Path, name: str) -> BundleError:
    return BundleError(f"{folder}: is no bundle, {name} is missing; train one with `make retrain`")
