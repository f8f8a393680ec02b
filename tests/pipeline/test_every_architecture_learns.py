"""Every architecture with its default encoder, trained from scratch on drawn images, scored as a bundle is."""

from pathlib import Path

import pytest

from segmodels import augment, bundle, catalog, shapes
from segmodels.counts import summarise
from segmodels.dataset import open_dataset
from segmodels.objective import Term
from segmodels.optimization import Optimization
from segmodels.plan import Plan, Settings
from segmodels.predict import Predictor
from segmodels.samples import trained
from segmodels.scoring import score
from segmodels.store import Store
from segmodels.train import Places, train
from tests.conftest import prepared_at

SIZE = (64, 64)
EVERY = [(name, catalog.default("architectures", name, "encoder")) for name in catalog.names("architectures")] + [
    ("unet", "plain")
]
USUAL = (2, 0.002)
OWN = {"fcn": (4, 0.002), "pspnet": (4, 0.002), "deeplabv3": (6, 0.002), "segnet": (4, 0.002), "dpt": (4, 0.0005)}
"""Epochs and learning rate. Of three the logits have an eighth of the image's size, of which a small shape is mostly border; SegNet
joins no features of the encoder to the decoder's; the last is a vision transformer."""
NARROW: dict[tuple[str, str], dict[str, object]] = {
    ("dpt", "vit_tiny_patch16_224"): {"channels": 64, "intermediate_channels": [64, 128, 256, 256]},
    ("unet", "plain"): {"decoder_channels": [128, 64, 32, 16]},
}
"""A quarter of the usual width, of those that would take minutes each."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five hundred of the demo's images at half the size, prepared, with a recipe that but flips them."""
    folder = tmp_path_factory.mktemp("data")
    shapes.write(folder / "raw", count=500, size_px=SIZE, seed=0)
    prepared_at(open_dataset(folder / "raw"), folder / "store", val=0.15, test=0.2)
    flips = {"min_scale": 1.0, "affine": 0.0, "color": 0.0, "noise": 0.0, "erase": 0.0}
    augment.augment(folder / "store", folder / "recipe", recipe="light", options=flips, size_px=SIZE, seed=0)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("name", "encoder"), EVERY)
def test_it_learns_the_drawn_images(data: Path, tmp_path: Path, name: str, encoder: str) -> None:
    epochs, learning_rate = OWN.get(name, USUAL)
    plan = Plan(
        candidate=name,
        architecture=name,
        encoder=encoder,
        weights=None,
        options=NARROW.get((name, encoder), {}),
        loss=[Term("cross_entropy", {}), Term("dice", {})],
        schedule="cosine",
        schedule_options={},
        optimization=Optimization(learning_rate=learning_rate, weight_decay=0.01, warmup_epochs=1, gradient_clip=5.0),
        settings=Settings(size_px=SIZE, epochs=epochs, batch_size=4, seed=0),
    )
    places = Places(
        data / "store",
        data / "recipe",
        tmp_path / "bundle",
        tmp_path / "log.json",
        tmp_path / "checkpoints",
        tmp_path / "locks",
    )
    train(plan, places, export="none")
    store = Store(data / "store")
    images = score(store, Predictor(bundle.load(tmp_path / "bundle")))
    miou = summarise(images, trained(store.classes), overlap=False)["miou"]
    print(f"{name} on {encoder}: {miou:.4f}")
    assert miou >= 0.65  # the worst has 0.69; what finds but the background has 0.2
