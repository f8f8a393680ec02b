"""What a bundle says of itself: the form of bundle.json."""

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from segmodels.samples import MAX_CLASSES, SegmentationClass, Task, num_logits

Export = Literal["none", "onnx", "int8"]
"""What a network is written as besides its weights: nothing; an ONNX file; that, and one in whole numbers of 8 bits for CPUs."""

FileName = Literal["model.safetensors", "model.onnx", "model.int8.xml", "model.int8.bin"]
Side = Annotated[int, Field(ge=1, le=100_000)]
Channel = Annotated[int, Field(ge=0, le=255)]


class ClassFacts(pydantic.BaseModel):
    """A class, as `SegmentationClass.to_dict` has it."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    name: str
    value: int
    color: tuple[Channel, Channel, Channel]
    ignore: bool

    def to_class(self) -> SegmentationClass:
        return SegmentationClass(self.name, self.value, self.color, self.ignore)


class Facts(pydantic.BaseModel):
    """bundle.json, which is not believed further than its form.

    Attributes:
        size_px: height and width that training images were fitted into.
        scale: how large they then were, of their own size: the median. An image much larger than they is seen at it, piece by piece.
        largest_px: the height and the width that no training image exceeds.
        thresholds: how probable a class must be to count, by logit; None where classes exclude each other.
        training: how it came about, for people to read.
        git_commit: what was checked out when it was trained.
        files: the sha256 of every other file of the bundle.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    candidate: str
    architecture: str
    encoder: str
    options: dict[str, Any]
    num_parameters: int
    task: Task
    classes: Annotated[list[ClassFacts], Field(min_length=1, max_length=MAX_CLASSES + 1)]
    size_px: tuple[Side, Side]
    scale: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
    largest_px: tuple[Side, Side]
    channels: Annotated[int, Field(ge=1, le=64)]
    bits: Literal[8, 16]
    mean: list[Annotated[float, Field(allow_inf_nan=False)]]
    std: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]]
    thresholds: list[Annotated[float, Field(gt=0, lt=1)]] | None
    training: dict[str, Any]
    dataset_sha256: str
    git_commit: str | None
    versions: dict[str, str]
    files: dict[FileName, str]

    @pydantic.model_validator(mode="after")
    def _agree(self) -> "Facts":
        learned = [one for one in self.classes if not one.ignore]
        logits = num_logits(self.task, len(learned))
        if not learned or len({one.value for one in self.classes}) < len(self.classes):
            raise ValueError("classes: all are ignored, or a value stands twice")
        if {len(self.mean), len(self.std)} != {self.channels}:
            raise ValueError(f"mean and std: expected {self.channels} values, one a channel")
        if self.thresholds is not None and len(self.thresholds) != logits:
            raise ValueError(f"thresholds: expected {logits} values")
        return self
