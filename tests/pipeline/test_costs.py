"""`segmodels bench architectures`: what it counts, and where it puts the table."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from segmodels import network
from tests.pipeline.test_cli import segmodels


def multiplications_by_hand(architecture: str, encoder: str, size_px: int, num_logits: int) -> int:
    """Of all convolutions: for every output (every input, if transposed) a kernel over its group's channels."""
    built = network.build(
        architecture=architecture, encoder=encoder, weights=None, options={}, num_logits=num_logits, mean=[0] * 3, std=[1] * 3
    ).eval()
    total = 0

    def count(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
        kernel = module.kernel_size[0] * module.kernel_size[1]
        if isinstance(module, nn.ConvTranspose2d):
            total += inputs[0].numel() * kernel * module.out_channels // module.groups
        else:
            total += output.numel() * kernel * module.in_channels // module.groups

    for module in built.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.register_forward_hook(count)
    with torch.inference_mode():
        built(torch.zeros(1, 3, size_px, size_px))
    return total


@pytest.mark.slow
def test_it_measures_and_puts_the_table_into_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- costs -->\nold\n<!-- /costs -->\nafter\n")
    options = ("--size-px", "64", "64", "--batch-size", "2", "--steps", "1", "--into", str(page))
    said = segmodels("bench", "architectures", "unet:plain", "segnet", *options, cwd=tmp_path).stdout
    text = page.read_text()
    assert text.startswith("before\n<!-- costs -->\n") and text.endswith("\n<!-- /costs -->\nafter\n") and "old" not in text
    rows = [re.split(r" *\| *", line.strip("| ")) for line in text.splitlines() if line.startswith("|")]
    assert [row[:3] for row in rows[2:]] == [["unet", "plain", "31.0 M"], ["segnet", "vgg16_bn", "29.4 M"]]
    for architecture, encoder, _, gflops, step_ms, predict_ms, peak_mib in rows[2:]:
        assert architecture in said and encoder in said
        assert float(gflops) == round(2 * multiplications_by_hand(architecture, encoder, 64, 12) / 1e9, 1)
        assert float(step_ms) > 0 and float(predict_ms) > 0
        assert float(peak_mib) > 0


def test_a_network_that_is_not_there_is_refused_before_the_others_are_measured(tmp_path: Path) -> None:
    said = segmodels("bench", "architectures", "unet", "unett:resnet18", cwd=tmp_path, code=2)
    assert "there is no 'unett', did you mean 'unet'" in said.stderr
    assert "measuring" not in said.stdout


def test_a_page_without_a_place_for_it_is_refused_before_an_hour_is_measured(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("no marks")
    said = segmodels("bench", "architectures", "--into", str(tmp_path / "page.md"), cwd=tmp_path, code=2)
    assert "page.md: has no line '<!-- costs -->'" in said.stderr
    assert "measuring" not in said.stdout
