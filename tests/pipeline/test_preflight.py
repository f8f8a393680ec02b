"""Candidates that cannot be built are told before any work, all at once."""

from pathlib import Path

import pytest

from segmodels import catalog, params, preflight
from segmodels.errors import ParamsError
from tests.conftest import PARAMS


def told(path: Path, *changes: tuple[str, str]) -> str:
    text = PARAMS
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text)
    with pytest.raises(ParamsError) as caught:
        preflight.check(params.read(path))
    return str(caught.value)


def test_every_architecture_is_built_with_its_default_encoder(tmp_path: Path) -> None:
    candidate = "{{architecture: {0}, loss: {{name: dice}}, schedule: {{name: poly}}, augmentation: light}}"
    listed = "".join(f"  {name}: {candidate.format(name)}\n" for name in catalog.names("architectures"))
    head, rest = PARAMS.split("candidates:\n")
    (tmp_path / "params.yaml").write_text(f"{head}candidates:\n{listed}training:{rest.split('training:')[-1]}")
    preflight.check(params.read(tmp_path / "params.yaml"))


def test_every_candidate_that_cannot_be_built_is_listed(tmp_path: Path) -> None:
    text = told(
        tmp_path / "params.yaml",
        ("encoder: resnet18", "encoder: resnet81"),
        ("architecture: pspnet", "architecture: pspnet\n    weights: gone.safetensors"),
        (
            "training: {",
            "  fcn: {architecture: fcn, options: {hidden: 8, dropout: 2}, loss: {name: dice}, schedule: {name: poly}, augmentation: light}\ntraining: {",
        ),
        ("recipe: light", "recipe: light, flip: 2"),
    )
    assert "params.yaml: 4 cannot be built" in text
    assert "candidates.unet: encoder: 'resnet81' does not fit" in text
    assert "candidates.pspnet: weights: there is no file gone.safetensors" in text
    assert "candidates.fcn: dropout probability has to be between 0 and 1" in text
    assert "augmentations.light" in text


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            [("{name: cross_entropy}", "{name: cross_entropy, label_smoothing: 1.5}")],
            "losses.cross_entropy: label_smoothing is 1.5; expected 0 or more, and less than 1",
        ),
        ([("{name: cross_entropy}", "{name: tversky, gamma: 0}")], "losses.tversky: gamma is 0.0; expected more than 0"),
        (
            [("{name: cross_entropy}", "{name: cross_entropy, class_weights: [1, 2, 3]}"), ("classes: auto", "classes: [a, b]")],
            "it cannot be trained, by the options of its architecture or of its loss: losses.cross_entropy: class_weights has 3 values",
        ),
    ],
)
def test_what_only_the_first_step_would_show_is_said(tmp_path: Path, changes: list[tuple[str, str]], reason: str) -> None:
    text = told(tmp_path / "params.yaml", *changes)
    assert f"candidates.unet: {reason}" in text
    assert "candidates.pspnet" not in text


def test_a_head_on_features_that_are_not_there_is_refused(tmp_path: Path) -> None:
    text = told(
        tmp_path / "params.yaml",
        ("architecture: pspnet\n    encoder: resnet18", "architecture: pspnet\n    encoder: convnext_tiny"),
    )  # with depth: 2
    assert "candidates.pspnet: depth: the encoder has no features before its last ones; raise it, or set auxiliary: 0" in text


def test_an_encoder_of_one_image_size_is_refused(tmp_path: Path) -> None:
    text = told(
        tmp_path / "params.yaml",
        ("encoder: resnet18", "encoder: maxvit_rmlp_pico_rw_256"),
        ("    options: {decoder_channels: [16", "    #"),
    )
    assert "encoder: 'maxvit_rmlp_pico_rw_256' does not take an image of 96 x 64 pixels" in text


def test_what_is_settled_by_the_dataset_is_not_asked_for(tmp_path: Path) -> None:
    text = PARAMS.replace("{name: cross_entropy}", "{name: cross_entropy, class_weights: auto}", 1)
    (tmp_path / "params.yaml").write_text(text)
    preflight.check(params.read(tmp_path / "params.yaml"))
