"""The bundle: everything a prediction needs, in one folder without pickle.

`model.safetensors` holds the weights, `bundle.json` the architecture, the classes, the preprocessing and the weights' hash. Loading runs
no code from the folder.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pydantic
import safetensors.torch

from segmodels import atomic, network
from segmodels.errors import BundleError
from segmodels.labels import num_logits
from segmodels.network import Segmenter
from segmodels.samples import RGB, ImageKind, SegmentationClass, Task, trained

WEIGHTS = "model.safetensors"
FACTS = "bundle.json"


class Facts(pydantic.BaseModel):
    """bundle.json."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    version: int = 1
    candidate: str
    architecture: str
    encoder: str
    options: dict[str, Any]
    task: Task
    classes: list[dict[str, Any]]
    size_px: tuple[int, int]
    channels: int
    bits: Literal[8, 16]
    mean: list[float]
    std: list[float]
    training: dict[str, Any]
    dataset_sha256: str
    weights_sha256: str


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle: a network on the CPU in eval mode, and what its outputs mean."""

    facts: Facts
    segmenter: Segmenter
    sha256: str

    @property
    def classes(self) -> list[SegmentationClass]:
        return [SegmentationClass.from_dict(one) for one in self.facts.classes]

    @property
    def kind(self) -> ImageKind:
        """What its images are."""
        return ImageKind(self.facts.channels, self.facts.bits)

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.segmenter.parameters())


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
    kind: ImageKind = RGB,
    training: dict[str, Any],
    dataset_sha256: str,
) -> None:
    """Write a bundle, whole or not at all. `training` is kept for people to read."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in segmenter.network.state_dict().items()}
    weights = safetensors.torch.save(tensors)
    facts = Facts(
        candidate=candidate,
        architecture=architecture,
        encoder=encoder,
        options=options,
        task=task,
        classes=[one.to_dict() for one in classes],
        size_px=size_px,
        **kind._asdict(),
        mean=segmenter.mean.flatten().tolist(),
        std=segmenter.std.flatten().tolist(),
        training=training,
        dataset_sha256=dataset_sha256,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    with atomic.folder(folder) as partial:
        (partial / WEIGHTS).write_bytes(weights)
        atomic.write_json(partial / FACTS, facts.model_dump(mode="json"))


def load(folder: Path) -> Bundle:
    """Load a bundle.

    Raises:
        BundleError: a file is missing or damaged, or the weights are not the ones bundle.json names.
    """
    facts, weights_path = read_facts(folder), folder / WEIGHTS
    if not weights_path.is_file():
        raise _missing(folder, WEIGHTS)
    weights = weights_path.read_bytes()
    if hashlib.sha256(weights).hexdigest() != facts.weights_sha256:
        raise BundleError(f"{weights_path}: is not the file that {FACTS} was written for; fetch or train the bundle again")
    classes = [SegmentationClass.from_dict(one) for one in facts.classes]
    segmenter = network.build(
        architecture=facts.architecture,
        encoder=facts.encoder,
        weights=None,
        options=facts.options,
        num_logits=num_logits(facts.task, len(trained(classes))),
        mean=facts.mean,
        std=facts.std,
    )
    try:
        segmenter.network.load_state_dict(safetensors.torch.load(weights))
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise BundleError(f"{folder}: its weights do not fit {facts.architecture} with {facts.encoder}: {error}") from error
    return Bundle(facts, segmenter.eval(), digest(folder))


def read_facts(folder: Path) -> Facts:
    """What a bundle says of itself.

    Raises:
        BundleError: bundle.json is missing or damaged.
    """
    try:
        return Facts.model_validate_json(_text(folder))
    except pydantic.ValidationError as error:
        raise BundleError(f"{folder / FACTS}: is damaged or of another version: {error}") from error


def digest(folder: Path) -> str:
    """The content hash of a bundle: of bundle.json, which names the weights' hash."""
    return hashlib.sha256(_text(folder)).hexdigest()


def _text(folder: Path) -> bytes:
    if not (folder / FACTS).is_file():
        raise _missing(folder, FACTS)
    return (folder / FACTS).read_bytes()


def _missing(folder: Path, name: str) -> BundleError:
    return BundleError(f"{folder}: is no bundle, {name} is missing; train one with `make retrain`")
