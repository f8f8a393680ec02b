"""Encoders and networks of segmentation_models.pytorch, with errors a person can act on."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, cast
from urllib.error import URLError

import torch
from torch import nn

from segmodels.errors import InputError


def network(
    build: Callable[..., Any],
    *,
    encoder: str,
    weights: str | None,
    in_channels: int,
    num_classes: int,
    depth: int = 5,
    **keywords: Any,
) -> nn.Module:
    """A network with an encoder of smp or timm, by its bare name. `depth`: how many times the encoder halves the size.

    Raises:
        InputError: no such encoder, one that does not fit the network, or weights that cannot be had.
    """
    name = _known_to_smp(encoder)
    with _explained(encoder, weights):
        built: nn.Module = build(
            **_any_size(name),
            encoder_name=name,
            encoder_weights=_weights(name, weights),
            encoder_depth=depth,
            in_channels=in_channels,
            classes=num_classes,
            **keywords,
        )
    if depth < 5:
        drop_unused(built, in_channels)
    return built


def encoder(name: str, *, weights: str | None, in_channels: int, depth: int = 5, output_stride: int = 32) -> nn.Module:
    """An encoder that gives `depth` + 1 feature maps, the image's own scale first, with `out_channels` channels.

    `output_stride` 8 or 16: the last stages keep their size and widen their view by dilation instead (arXiv:1412.7062).

    Raises:
        InputError: no such encoder, one that cannot be dilated, or weights that cannot be had.
    """
    import segmentation_models_pytorch as smp

    known = _known_to_smp(name)
    with _explained(name, weights):
        return cast(
            nn.Module,
            smp.encoders.get_encoder(
                known,
                in_channels=in_channels,
                depth=depth,
                weights=_weights(known, weights),
                output_stride=output_stride,
                **_any_size(known),
            ),
        )


def normalisation(encoder: str) -> tuple[list[float], list[float]]:
    """Mean and deviation by channel, on a scale of 0 to 255, of the images that an encoder was pretrained on.

    Raises:
        InputError: they cannot be had (smp keeps those of its own encoders with the weights, online).
    """
    import segmentation_models_pytorch as smp

    with _explained(encoder, "imagenet"):
        found = smp.encoders.get_preprocessing_params(_known_to_smp(encoder), "imagenet")
    scale = 255 / found["input_range"][1]
    return [value * scale for value in found["mean"]], [value * scale for value in found["std"]]


def drop_unused(network: nn.Module, in_channels: int) -> None:
    """Remove what no logit depends on: encoders come whole, though a PSPNet cut at stride 8 runs 0.7 of ResNet-18's 11.2 M parameters."""
    network.eval()
    image = torch.ones(1, in_channels, 64, 64)
    network.to(image.device)  # smp makes a first convolution of other than three channels on the CPU, whatever the default is
    network(image).sum().backward()

    def prune(module: nn.Module) -> None:
        for name, child in reversed(list(module.named_children())):  # before what feeds it
            parameters = list(child.parameters())
            if parameters and all(parameter.grad is None for parameter in parameters):
                setattr(module, name, _Nothing())
                try:
                    network(image)
                except RuntimeError:  # what runs beside it, for nothing, needs its shape
                    setattr(module, name, child)
            else:
                prune(child)

    prune(cast(nn.Module, network.encoder))
    network.zero_grad(set_to_none=True)
    network.train()


class _Nothing(nn.Identity):
    """Stands where something was: encoders call all their blocks, some with more than the features."""

    def forward(self, input: torch.Tensor, *_: Any) -> torch.Tensor:
        return input


def _known_to_smp(encoder: str) -> str:
    """smp's own name of an encoder, or `tu-<name>` for one of timm's."""
    import segmentation_models_pytorch as smp
    import timm

    bare = encoder.removeprefix("tu-")
    if encoder not in smp.encoders.get_encoder_names() and timm.is_model(bare):
        return f"tu-{bare}"
    return encoder


def _any_size(name: str) -> dict[str, bool]:
    """What has an encoder take images of any size that would be made for one."""
    return {"strict_img_size": False} if name.startswith(("tu-swin_", "tu-swinv2_")) else {}


def _weights(name: str, weights: str | None) -> str | bool | None:
    return True if weights is not None and name.startswith("tu-") else weights  # smp's word for timm's own


@contextlib.contextmanager
def _explained(encoder: str, weights: str | None) -> Iterator[None]:
    try:
        yield
    except (OSError, URLError, RuntimeError) as error:
        if weights is None:
            raise
        raise InputError(
            f"encoder {encoder}: its weights {weights!r} could not be loaded ({error}); connect once so that they are "
            f"downloaded, or set `weights: null` to train from scratch"
        ) from error
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        remedy = "see `python -c 'import timm; print(timm.list_models())'`, and the options of the architecture"
        if "dilated" in str(error):
            remedy = "take one that can be, such as resnet50 or xception65, or `output_stride: 32` where the architecture has it"
        raise InputError(f"encoder: {encoder!r} does not fit: {error}; {remedy}") from error
