"""The modules of our own networks, and options that make no sense. What every architecture owes: tests/pipeline."""

import copy

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segmodels import catalog, layers
from segmodels.architectures import _upsampling
from segmodels.architectures._pyramid import PyramidPooling, bin_means
from segmodels.architectures.segnet import unpool
from segmodels.errors import ParamsError
from segmodels.network import Segmenter


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("fcn", {"stride": 4}, "architectures.fcn: stride is 4; expected 32, 16 or 8"),
        ("pspnet", {"depth": 1}, "architectures.pspnet: depth is 1; expected 2, 3, 4 or 5"),
        ("pspnet", {"output_stride": 4}, "architectures.pspnet: output_stride is 4; expected 8, 16 or 32"),
        ("unet", {"skip": "conv"}, "architectures.unet: skip is 'conv'; expected 'copy' or 'conv1x1'"),
        ("segnet", {"encoder": "resnet18"}, "encoder is 'resnet18'; it unpools, so expected one of vgg11"),
    ],
)
def test_options_that_make_no_sense_are_said(name: str, options: dict[str, object], said: str) -> None:
    encoder = options.pop("encoder", "resnet18")
    with pytest.raises(ParamsError, match=said):
        catalog.build("architectures", name, 3, 2, encoder=encoder, weights=None, options=options)


@pytest.mark.parametrize("count", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [(6, 6), (7, 11), (4, 13), (1, 1)])
def test_bins_are_those_of_adaptive_pooling(count: int, size: tuple[int, int]) -> None:
    features = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(bin_means(features, count), F.adaptive_avg_pool2d(features, count), atol=1e-6)


def test_pyramid_pooling_is_that_of_the_paper() -> None:
    """Features beside their means over 1, 2, 3 and 6 bins a side, each in a quarter of the channels and scaled back up."""
    torch.manual_seed(0)
    module, features = PyramidPooling(8).eval(), torch.randn(2, 8, 7, 11)
    expected = [features]
    for branch, bins in zip(module.branches, (1, 2, 3, 6), strict=True):
        scaled = F.interpolate(branch(F.adaptive_avg_pool2d(features, bins)), size=(7, 11), mode="bilinear")
        assert scaled.shape[1] == 2
        expected.append(scaled)
    torch.testing.assert_close(module(features), torch.cat(expected, dim=1))


def test_unpooling_is_torch_s() -> None:
    features = torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    pooled, indices = F.max_pool2d(features, 2, return_indices=True)
    expected = F.max_unpool2d(pooled, indices, [2, 2], output_size=features.shape)
    assert torch.equal(unpool(pooled, indices, features.shape), expected)


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNormAct2d])
def test_one_value_is_normalised_by_the_running_statistics(kind: type[nn.BatchNorm2d]) -> None:
    network = nn.Sequential(kind(2)).train()
    layers.replace_in(network)
    norm = network[0]
    assert isinstance(norm, kind)
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.fill_(1)
    norm.running_var.fill_(4)
    value = torch.tensor([5.0, 1.0]).view(1, 2, 1, 1)
    # (5 - 1) / 2 and 0
    assert norm(value).flatten().tolist() == pytest.approx([2, 0], abs=1e-4)
    assert norm.running_mean.tolist() == [1, 1]
    norm(torch.cat([value, value + 2]))  # of more than one they are learned as ever: means 6 and 2
    assert norm.running_mean.tolist() == pytest.approx([1.5, 1.1])


@pytest.mark.parametrize(("channels", "groups"), [(40, 40), (24, 3)])
@pytest.mark.parametrize("kind", [nn.Conv2d, Conv2dSame])
def test_in_bf16_weights_of_dilated_groups_have_their_gradient(channels: int, groups: int, kind: type[nn.Conv2d]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(kind(channels, channels, 3, padding=3, dilation=3, groups=groups, bias=False))
    network.to(memory_format=torch.channels_last)
    features = torch.randn(4, channels, 22, 30).contiguous(memory_format=torch.channels_last)
    features = features.bfloat16().float()  # so that rounding takes nothing from them
    network(features).square().sum().backward()
    weight = next(network.parameters())
    assert weight.grad is not None
    expected, weight.grad = weight.grad, None
    layers.replace_in(network)
    assert isinstance(network[0], kind)
    for _ in range(3):  # what memory holds differs from one time to the next
        with torch.autocast("cpu", torch.bfloat16):
            network(features).float().square().sum().backward()
        found, weight.grad = weight.grad, None
        assert found is not None
        assert torch.allclose(found, expected, atol=0.02 * float(expected.abs().max()))


@pytest.mark.parametrize("size", [(7, 11), (32, 30)])
def test_a_convolution_of_the_pyramid_without_scaling_it_up_is_that_of_what_is_scaled_up(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    pyramid, convolution = PyramidPooling(16).train(), torch.nn.Conv2d(32, 24, 3, padding=1)
    features, weights = torch.randn(2, 16, *size), torch.randn(2, 24, *size)
    parameters = [*pyramid.parameters(), *convolution.parameters()]
    slopes, flops = [], []
    for way in (lambda one: convolution(pyramid(one)), lambda one: pyramid.convolved(one, convolution)):
        given = features.clone().requires_grad_()
        with FlopCounterMode(display=False) as counter:
            found = way(given)
        flops.append(counter.get_total_flops())
        slopes.append([found.detach(), *torch.autograd.grad((found * weights).sum(), [given, *parameters])])
    for own, expected in zip(slopes[1], slopes[0], strict=True):
        assert torch.allclose(own, expected, atol=1e-5 * float(expected.abs().max()))
    if size == (32, 30):
        assert flops[1] < 0.75 * flops[0]


def test_a_unet_trained_by_transposed_convolutions_is_the_one_of_smp() -> None:
    torch.manual_seed(0)
    theirs = smp.Unet("resnet18", encoder_weights=None, classes=3).train()
    ours = copy.deepcopy(theirs)
    _upsampling.replace_in(ours.decoder)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    images = torch.randn(2, 3, 50, 70)  # padded to 64 x 96
    slopes, flops = [], []
    for network in (theirs, ours):
        with FlopCounterMode(display=False) as counter:
            logits = Segmenter(network, [0.0] * 3, [1.0] * 3)(images)
        flops.append(counter.get_total_flops())
        (logits * torch.linspace(0, 1, logits.numel()).view_as(logits)).mean().backward()
        slopes.append([logits.detach(), *(one.grad for one in network.parameters())])
    for own, expected in zip(slopes[1], slopes[0], strict=True):
        assert torch.allclose(own, expected, atol=1e-4 * float(expected.abs().max()))
    assert flops[1] < 0.85 * flops[0]
    # features that are not doubled exactly, and predictions, go smp's way
    deep, skip = torch.randn(2, 512, 3, 5), torch.randn(2, 256, 5, 9)
    first = [network.decoder.blocks[0] for network in (ours, theirs)]
    assert torch.equal(first[0](deep, 5, 9, skip), first[1](deep, 5, 9, skip))
    padded = images[..., :32, :64]
    ours.load_state_dict(theirs.state_dict())  # the statistics of what was trained on differ by rounding
    assert torch.equal(*(network.eval()(padded) for network in (ours, theirs)))
