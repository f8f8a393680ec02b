"""Builds a segmentation_models.pytorch network, with errors a person can act on."""

from collections.abc import Callable
from typing import Any, cast
from urllib.error import URLError

from torch import nn

from segmodels.errors import InputError


def build(network: Callable[..., Any], *, encoder: str, weights: str | None, **keywords: Any) -> nn.Module:
    """The network with an encoder of smp, or of timm as `tu-<name>`; a bare timm name is found too."""
    import segmentation_models_pytorch as smp
    import timm

    name = encoder
    if name not in smp.encoders.get_encoder_names() and timm.is_model(name.removeprefix("tu-")):
        name = f"tu-{name.removeprefix('tu-')}"
    try:
        return cast(nn.Module, network(encoder_name=name, encoder_weights=weights, **keywords))
    except (OSError, URLError, RuntimeError) as error:
        if weights is None:
            raise
        raise InputError(
            f"encoder {encoder}: its weights {weights!r} could not be loaded ({error}); connect once so that they are "
            f"downloaded, or set `weights: null` to train from scratch"
        ) from error
    except (KeyError, ValueError) as error:
        raise InputError(
            f"encoder: {encoder!r} does not fit: {error}; see `python -c 'import timm; print(timm.list_models())'`"
        ) from error
