"""The ordinary loop of segmentation_models.pytorch and albumentations as people write it, which benchmarks compare with: its data and its network."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

from segmodels import catalog
from segmodels.architectures._pyramid import PyramidPooling

NEAREST = {"mask_interpolation": cv2.INTER_NEAREST}
SMP = {"unet": smp.Unet, "deeplabv3plus": smp.DeepLabV3Plus}


class Pairs(Dataset[Any]):
    """Images and masks that the lists of a folder name, decoded and transformed one by one: image, mask, and the mask at its own size."""

    def __init__(self, folder: Path, split: str, transform: A.Compose) -> None:
        self.folder, self.transform = folder, transform
        self.pairs = [line.split() for line in (folder / f"{split}.txt").read_text().splitlines() if line]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Any:
        image, mask = (self.folder / path for path in self.pairs[index])
        own = np.array(Image.open(mask))
        drawn = self.transform(image=np.array(Image.open(image).convert("RGB")), mask=own)
        return torch.from_numpy(drawn["image"].transpose(2, 0, 1).copy()), torch.from_numpy(drawn["mask"]).long(), own


def classes_of(folder: Path) -> int:
    """How many there are; the one after them is void."""
    listed = json.loads((folder / "classes.json").read_text())
    names = listed["classes"] if isinstance(listed, dict) else listed
    void = next(one["id"] for one in names if one.get("ignore"))
    assert void == len(names) - 1, "the void class is expected to be the last"
    return int(void)


def augmented(size_px: tuple[int, int], void: int, seed: int) -> A.Compose:
    """The recipe `light` as albumentations has it, and normalisation."""
    return A.Compose(
        [
            A.RandomResizedCrop(size=size_px, scale=(0.5, 1.0), ratio=(0.75, 4 / 3), **NEAREST),
            A.HorizontalFlip(p=0.5),
            A.Affine(
                rotate=(-10, 10), shear=(-5, 5), translate_percent=(-0.05, 0.05), border_mode=0, fill_mask=void, p=0.3, **NEAREST
            ),
            A.ColorJitter(brightness=(0.7, 1.3), contrast=(0.7, 1.3), saturation=(0.7, 1.3), hue=(-0.03, 0.03), p=0.5),
            A.GaussNoise(std_range=(0.01, 0.06), p=0.2),
            A.CoarseDropout(num_holes_range=(1, 4), hole_height_range=(0.05, 0.15), hole_width_range=(0.05, 0.15), p=0.2),
            A.Normalize(),
        ],
        seed=seed,
    )


def plain(size_px: tuple[int, int]) -> A.Compose:
    height, width = size_px
    return A.Compose([A.Resize(height, width, **NEAREST), A.Normalize()])


def network(name: str, num_classes: int, options: dict[str, Any]) -> nn.Module:
    """On ResNet-18, from scratch: smp's own where ours is the same; smp's PSPNet lacks the paper's 3 x 3 convolution after the pyramid."""
    if name in SMP:
        built: nn.Module = SMP[name]("resnet18", encoder_weights=None, classes=num_classes)
        return built
    found: nn.Module = catalog.build("architectures", name, 3, num_classes, encoder="resnet18", weights=None, options=options)
    for module in found.modules():
        if isinstance(module, PyramidPooling):
            module.convolved = partial(_convolved, module)  # type: ignore[method-assign]
    return found


def _convolved(pyramid: nn.Module, features_BCHW: torch.Tensor, convolution: nn.Module) -> torch.Tensor:
    """As the paper has it."""
    found: torch.Tensor = convolution(pyramid(features_BCHW))
    return found
