"""What every architecture owes; a new file is tested by being there. Networks as `network.build` makes them, for images of any size."""

import copy
from functools import cache
from pathlib import Path

import onnxruntime
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation import deeplabv3_resnet50

from segmodels import catalog, network
from segmodels.errors import InputError, ParamsError
from segmodels.network import Segmenter

EVERY = [*catalog.names("architectures"), "unet:plain"]
"""With their default encoders, and the network of U-Net's paper, which is built otherwise."""
TAKING_ANY = [name for name in catalog.names("architectures") if catalog.default("architectures", name, "encoder") == "resnet18"]
"""Those with a ResNet for default are for any encoder; the others need one of a kind."""


def named(name: str) -> tuple[str, str]:
    """Architecture and encoder of `architecture` or `architecture:encoder`."""
    architecture, _, encoder = name.partition(":")
    return architecture, encoder or catalog.default("architectures", architecture, "encoder")


def build(name: str, *, channels: int = 3, num_classes: int = 5, encoder: str | None = None, **keywords: object) -> Segmenter:
    torch.manual_seed(0)
    architecture, usual = named(name)
    return network.build(
        architecture=architecture,
        encoder=encoder or usual,
        weights=None,
        options=keywords,
        num_logits=num_classes,
        mean=[100.0] * channels,
        std=[50.0] * channels,
    )


@cache
def built(name: str) -> Segmenter:
    """As `build` makes it, untrained; not to be changed."""
    with torch.inference_mode(False):
        return build(name).eval()


def pictures(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def save(module: nn.Module, path: Path) -> None:
    safetensors.torch.save_file({key: value.contiguous() for key, value in module.state_dict().items()}, path)


def parts(outputs: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


@pytest.mark.parametrize("name", EVERY)
def test_it_learns_from_a_single_small_image_of_any_size(name: str) -> None:
    segmenter = build(name).train()
    outputs = parts(segmenter(pictures(1, 3, 33, 50)))
    assert [one.shape for one in outputs] == [(1, 5, 33, 50)] * len(outputs)
    assert len(outputs) == (2 if getattr(segmenter.network, "auxiliary_weight", 0) else 1)
    torch.stack([one.square().mean() for one in outputs]).sum().backward()
    gradients = {key: value.grad for key, value in segmenter.named_parameters()}
    assert [key for key, value in gradients.items() if value is None or not value.isfinite().all()] == []
    if name != "pan":  # whose attention pools so small an image to a single value, of which a ReLU may leave nothing
        assert [key for key, value in gradients.items() if value is not None and not value.any()] == []


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("size", [(1, 1), (32, 32), (100, 47), (130, 65)])
def test_every_pixel_gets_its_logits(name: str, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        logits = built(name)(pictures(2, 3, *size))
    assert logits.shape == (2, 5, *size)
    assert torch.isfinite(logits).all()


def test_a_pixel_s_logits_are_where_the_pixel_is() -> None:
    images = pictures(2, 3, 33, 50)
    unchanged = Segmenter(nn.Identity(), [100.0] * 3, [50.0] * 3)
    assert torch.equal(unchanged(images), (images.float() - 100) / 50)


@pytest.mark.parametrize("name", EVERY)
def test_the_logits_of_an_image_do_not_depend_on_the_others_of_the_batch(name: str) -> None:
    images = pictures(3, 3, 64, 96)
    with torch.inference_mode():
        assert torch.allclose(built(name)(images)[1:2], built(name)(images[1:2]), atol=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_bf16_says_about_the_same(name: str) -> None:
    images = pictures(1, 3, 64, 64)
    with torch.inference_mode():
        exact = built(name)(images)
        with torch.autocast("cpu", torch.bfloat16):
            rough = built(name)(images).float()
    assert (rough - exact).abs().mean() < 0.05 * exact.abs().mean().clamp(min=0.1)


@pytest.mark.parametrize("name", [*EVERY, "deeplabv3plus:mobilenet_v2", "deeplabv3plus:tf_efficientnet_b0", "pspnet:xception65"])
def test_in_bf16_the_weights_of_every_convolution_have_their_gradient(name: str) -> None:
    """As worked out in float64 from what came into the layer and what came back to it: no rounding of other layers is in it.

    Of layers that are alike, and see images of one size, the first is looked at.
    """
    segmenter = build(name).train()
    layers = [one for one in segmenter.modules() if isinstance(one, (nn.Conv2d, nn.ConvTranspose2d))]
    expected: dict[nn.Module, Tensor] = {}
    first: dict[tuple[object, ...], nn.Module] = {}

    def work_out(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        if first.setdefault((repr(layer), inputs[0].shape), layer) is not layer:
            return
        exact = copy.deepcopy(layer).double().requires_grad_()
        exact._forward_hooks.clear()
        seen = inputs[0].detach().bfloat16().double()

        def back(gradient: Tensor) -> None:
            with torch.enable_grad(), torch.autocast("cpu", enabled=False):
                [weight] = torch.autograd.grad(exact(seen), list(exact.parameters())[:1], gradient.double())
            expected[layer] = expected[layer] + weight if layer in expected else weight

        if output.requires_grad:
            output.register_hook(back)

    for one in layers:
        one.register_forward_hook(work_out)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = parts(segmenter(pictures(1, 3, 96, 480)))
    torch.stack([output.float().square().mean() for output in outputs]).sum().backward()
    assert len(expected) > 0.8 * len(first)  # some architectures leave an encoder's last ones out
    assert len(first) > 0.1 * len(layers)
    for layer, gradient in expected.items():
        found = next(layer.parameters()).grad
        assert found is not None
        assert (found - gradient).abs().max() <= 0.03 * gradient.abs().max(), layer


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_in_bf16_it_learns_the_same_each_time(name: str) -> None:
    """To the last bit: what a kernel leaves uninitialised differs from one time to the next."""

    def learnt() -> list[Tensor]:
        segmenter = build(name).train()
        optimizer = torch.optim.AdamW(segmenter.parameters(), lr=0.01)
        for _ in range(2):
            torch.manual_seed(1)  # of dropout
            with torch.autocast("cpu", torch.bfloat16):
                outputs = parts(segmenter(pictures(1, 3, 64, 96)))
            torch.stack([output.float().square().mean() for output in outputs]).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        return [one.detach() for one in segmenter.parameters()]

    assert all(torch.equal(one, other) for one, other in zip(learnt(), learnt(), strict=True))


@pytest.mark.parametrize("name", EVERY)
def test_its_weights_saved_and_loaded_give_the_same_logits(name: str, tmp_path: Path) -> None:
    save(built(name).network, tmp_path / "w.safetensors")
    torch.manual_seed(1)
    architecture, encoder = named(name)
    other = network.build(
        architecture=architecture,
        encoder=encoder,
        weights=str(tmp_path / "w.safetensors"),
        options={},
        num_logits=5,
        mean=[100.0] * 3,
        std=[50.0] * 3,
    ).eval()
    images = pictures(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(other(images), built(name)(images))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("channels", [1, 5])
def test_images_may_have_any_number_of_channels(name: str, channels: int) -> None:
    segmenter = build(name, channels=channels).eval()
    with torch.inference_mode():
        assert segmenter(pictures(1, channels, 64, 64)).shape == (1, 5, 64, 64)


@pytest.mark.parametrize("name", EVERY)
def test_its_encoder_is_most_of_what_pretraining_is_for(name: str) -> None:
    encoder = built(name).network.encoder
    assert isinstance(encoder, nn.Module)
    assert 0 < sum(one.numel() for one in encoder.parameters()) < sum(one.numel() for one in built(name).network.parameters())


@pytest.mark.parametrize("name", EVERY)
def test_an_encoder_that_does_not_exist_is_said(name: str) -> None:
    with pytest.raises((InputError, ParamsError), match="resnet_of_mine"):
        build(name, encoder="resnet_of_mine")


@pytest.mark.parametrize("name", catalog.names("architectures"))
def test_weights_that_cannot_be_fetched_are_said(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Never a silent fall-back to random ones."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    encoder = catalog.default("architectures", name, "encoder")
    with pytest.raises(InputError, match=f"{encoder}: its weights 'imagenet' could not be loaded .*weights: null"):
        catalog.build("architectures", name, 3, 2, encoder=encoder, weights="imagenet")


@pytest.mark.parametrize("name", TAKING_ANY)
def test_it_takes_an_encoder_of_timm(name: str) -> None:
    segmenter = build(name, encoder="mobilenetv3_small_050").eval()
    with torch.inference_mode():
        assert segmenter(pictures(1, 3, 64, 64)).shape == (1, 5, 64, 64)


FAMILIES = [
    "resnet34",
    "resnet50",
    "resnet101",
    "xception65",
    "mobilenet_v2",
    "efficientnet-b0",
    "convnext_tiny",
    "mit_b0",
]


@pytest.mark.parametrize("name", ["unet", "pspnet", "fcn", "deeplabv3plus"])
@pytest.mark.parametrize("encoder", FAMILIES)
def test_it_learns_on_an_encoder_of_every_family(name: str, encoder: str) -> None:
    segmenter = build(name, encoder=encoder).train()
    logits = parts(segmenter(pictures(1, 3, 33, 50)))
    assert logits[0].shape == (1, 5, 33, 50)
    logits[0].square().mean().backward()
    stem, *_ = segmenter.encoder.parameters()
    assert stem.grad is not None
    assert 0 < stem.grad.abs().max() < torch.inf


def test_a_transformer_with_windows_takes_any_size() -> None:
    assert build("unet", encoder="swin_tiny_patch4_window7_224").eval()(pictures(1, 3, 64, 90)).shape == (1, 5, 64, 90)


def test_a_transformer_whose_patches_do_not_fit_the_decoder_is_refused() -> None:
    with pytest.raises(InputError, match="'vit_small_patch14_dinov2' has patches of 14 pixels; DPT puts together those of 16"):
        build("dpt", encoder="vit_small_patch14_dinov2")


def test_upernet_takes_an_encoder_with_blocks_that_have_nothing_in_them() -> None:
    assert build("upernet", encoder="ghostnet_100").eval()(pictures(1, 3, 64, 64)).shape == (1, 5, 64, 64)


@pytest.mark.parametrize("encoder", [*FAMILIES, "xception", "densenet121", "vgg16"])
def test_an_encoder_of_every_family_can_be_cut_off(encoder: str) -> None:
    whole, cut = (build("pspnet", encoder=encoder, depth=depth, output_stride=32).train() for depth in (5, 3))
    parts(cut(pictures(2, 3, 64, 64)))[0].square().mean().backward()
    size, unused, all_of_it = (
        sum(parameter.numel() for parameter in chosen)
        for chosen in (cut.parameters(), [one for one in cut.parameters() if one.grad is None], whole.parameters())
    )
    assert size < 0.7 * all_of_it
    assert unused < size / 10  # the auxiliary head, and half a block where the other half is used


@pytest.mark.parametrize("name", ["unet", "fcn"])
def test_it_takes_the_encoder_of_the_xception_paper(name: str) -> None:
    assert build(name, encoder="xception").eval()(pictures(1, 3, 64, 64)).shape == (1, 5, 64, 64)


@pytest.mark.parametrize("name", ["pspnet", "deeplabv3", "deeplabv3plus", "pan"])
def test_an_encoder_that_cannot_be_dilated_is_said_with_one_that_can(name: str) -> None:
    with pytest.raises(InputError, match="'xception' does not fit: .*take one that can be, such as resnet50 or xception65"):
        build(name, encoder="xception")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's exporter has many of its own
@pytest.mark.parametrize("name", EVERY)
def test_it_is_exported_to_onnx_and_predicts_the_same_at_any_size(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    segmenter = build(name).eval()
    images = torch.randint(0, 256, (2, 3, 96, 128), dtype=torch.uint8)
    free = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    torch.onnx.export(
        segmenter,
        (images,),
        tmp_path / "model.onnx",
        input_names=["images"],
        dynamic_shapes=(free,),
        external_data=False,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for shape in ((2, 3, 96, 128), (1, 3, 100, 75), (3, 3, 64, 64)):
        other = torch.randint(0, 256, shape, dtype=torch.uint8)
        with torch.inference_mode():
            expected = segmenter(other)
        found = torch.from_numpy(session.run(None, {"images": other.numpy()})[0])
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def parameters(name: str, *, num_classes: int, encoder: str | None = None, **options: object) -> float:
    """Millions."""
    segmenter = build(name, num_classes=num_classes, encoder=encoder, **options)  # type: ignore[arg-type]
    return sum(one.numel() for one in segmenter.parameters()) / 1e6


def test_parameters_are_as_many_as_published() -> None:
    # the paper's table of layers, with padding, batch normalisation and two classes: 31.04 M in the usual implementations
    assert parameters("unet", num_classes=2, encoder="plain") == pytest.approx(31.04, abs=0.01)
    # the authors' caffe model: 29.5 M
    assert parameters("segnet", num_classes=11) == pytest.approx(29.45, abs=0.05)
    # the authors' voc-fcn8s: 134.5 M, of which the fixed upsampling has 0.1 M
    assert parameters("fcn", num_classes=21, encoder="vgg16", hidden=4096) == pytest.approx(134.4, abs=0.1)
    # the paper's table: B0 on ADE20K has 3.8 M
    assert parameters("segformer", num_classes=150, encoder="mit_b0") == pytest.approx(3.8, abs=0.05)


def test_deeplabv3_has_as_many_parameters_as_torchvision_s() -> None:
    theirs = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21, aux_loss=False)
    expected = sum(one.numel() for one in theirs.parameters()) / 1e6
    assert parameters("deeplabv3", num_classes=21, encoder="resnet50") == pytest.approx(expected, abs=0.005)


def test_depth_cuts_the_encoder_off() -> None:
    # of ResNet-18's 11.18 M, the first two of four stages with the stem: 0.68 M
    encoder = build("pspnet", depth=3).network.encoder
    assert isinstance(encoder, nn.Module)
    assert sum(one.numel() for one in encoder.parameters()) == pytest.approx(0.68e6, abs=0.01e6)


def test_a_dilated_encoder_keeps_its_size() -> None:
    encoder = build("pspnet", output_stride=8).network.encoder
    assert isinstance(encoder, nn.Module)
    assert [tuple(one.shape[-2:]) for one in encoder(torch.zeros(1, 3, 64, 96))] == [
        (64, 96),
        (32, 48),
        (16, 24),
        (8, 12),
        (8, 12),
        (8, 12),
    ]


@pytest.mark.parametrize(
    ("name", "stride"),
    [
        *(("pspnet", stride) for stride in (8, 16, 32)),
        *((name, stride) for name in ("deeplabv3", "deeplabv3plus") for stride in (8, 16)),
        *(("pan", stride) for stride in (16, 32)),
    ],
)
def test_the_last_features_are_of_the_stride_that_was_asked_for(name: str, stride: int) -> None:
    options = {"depth": 5} if name == "pspnet" else {}
    segmenter = build(name, output_stride=stride, **options).eval()  # type: ignore[arg-type]
    *_, last = segmenter.encoder(torch.zeros(1, 3, 64, 96))
    assert last.shape[-2:] == (64 // stride, 96 // stride)
    # dilation widens the view of the same weights: there are no others
    assert sum(one.numel() for one in segmenter.encoder.parameters()) == pytest.approx(11.18e6, abs=0.01e6)
    with torch.inference_mode():
        assert segmenter(pictures(1, 3, 50, 75)).shape == (1, 5, 50, 75)


@pytest.mark.parametrize("encoder", ["plain", "resnet18"])
def test_skips_may_pass_a_convolution(encoder: str) -> None:
    plain, convolved = (build("unet", encoder=encoder, skip=skip) for skip in ("copy", "conv1x1"))
    more = sum(one.numel() for one in convolved.parameters()) - sum(one.numel() for one in plain.parameters())
    widths = (64, 128, 256, 512) if encoder == "plain" else (64, 64, 128, 256)
    assert more == sum(width * width + width for width in widths)
    with torch.inference_mode():
        assert convolved.eval()(pictures(1, 3, 40, 40)).shape == (1, 5, 40, 40)


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_fcn_sums_scores_of_finer_scales(stride: int) -> None:
    scores = build("fcn", stride=stride).network.scores
    assert isinstance(scores, nn.ModuleList)
    assert [one.in_channels for one in scores] == [512, 256, 128][: {32: 1, 16: 2, 8: 3}[stride]]


def test_the_logits_of_fcn_are_the_sum_of_those_of_its_scales() -> None:
    fcn = build("fcn", stride=8).network.eval()
    scores = fcn.scores
    assert isinstance(scores, nn.ModuleList)
    weights = [(one.weight.detach().clone(), one.bias.detach().clone()) for one in scores]  # type: ignore[operator]
    image = torch.randn(1, 3, 64, 96)

    @torch.no_grad()
    def logits_of(*kept: int) -> torch.Tensor:
        for number, (one, (weight, bias)) in enumerate(zip(scores, weights, strict=True)):
            one.weight.copy_(weight * (number in kept))  # type: ignore[operator]
            one.bias.copy_(bias * (number in kept))  # type: ignore[operator]
        logits: torch.Tensor = fcn(image)
        return logits

    alone = [logits_of(number) for number in range(3)]
    assert all(one.abs().max() > 0.01 for one in alone)
    assert torch.allclose(logits_of(0, 1, 2), sum(alone), atol=1e-5)  # type: ignore[arg-type]


@torch.no_grad()
def test_segnet_unpools_where_the_stage_of_the_same_size_pooled() -> None:
    segnet = build("segnet").network.eval()
    features, taken = torch.randn(1, 3, 64, 96), []
    image = features
    for stage in segnet.encoder.stages:  # type: ignore[union-attr]
        features, indices = F.max_pool2d(stage(features), 2, return_indices=True)
        taken.append(indices)
    for stage, indices in zip(segnet.decoder, reversed(taken), strict=True):  # type: ignore[arg-type]
        features = stage(F.max_unpool2d(features, indices, [2, 2]))
    assert torch.equal(segnet(image), segnet.head(features))  # type: ignore[operator]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    common = {"options": {}, "num_logits": 5, "mean": [100.0] * 3, "std": [50.0] * 3}
    safetensors.torch.save_file({"layer": torch.zeros(1)}, path)
    with pytest.raises(
        InputError, match=r"has 1 tensors such as 'layer', neither those of the network nor the \d+ of its encoder"
    ):
        network.build(architecture="unet", encoder="resnet18", weights=str(path), **common)  # type: ignore[arg-type]
    path.write_bytes(b"no tensors")
    with pytest.raises(InputError, match="cannot be read"):
        network.build(architecture="unet", encoder="resnet18", weights=str(path), **common)  # type: ignore[arg-type]


def test_weights_of_an_encoder_alone_are_taken(tmp_path: Path) -> None:
    encoder = built("unet").network.encoder
    assert isinstance(encoder, nn.Module)
    save(encoder, tmp_path / "encoder.safetensors")
    torch.manual_seed(1)
    other = network.build(
        architecture="fpn",
        encoder="resnet18",
        weights=str(tmp_path / "encoder.safetensors"),
        options={},
        num_logits=5,
        mean=[0.0] * 3,
        std=[1.0] * 3,
    ).network.encoder
    assert isinstance(other, nn.Module)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in encoder.state_dict().items())
