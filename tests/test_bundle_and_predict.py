"""A bundle predicts after loading as before saving, at the image's own size, and is refused when it is not what it was."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from segmodels import bundle, checkpoints, digests, network
from segmodels.__main__ import _scored_with
from segmodels.errors import BundleError, InputError
from segmodels.predict import Predictor
from segmodels.samples import SegmentationClass
from tests import bundles

CLASSES = [
    SegmentationClass("sky", 3, (10, 20, 30)),
    SegmentationClass("road", 7, (40, 50, 60)),
    SegmentationClass("v", 9, (0, 0, 0), True),
]
IMAGE = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_unet(tmp_path_factory.mktemp("bundles") / "unet")


def save_small_unet(folder: Path) -> Path:
    torch.manual_seed(0)
    options = {"decoder_channels": [16, 8, 8]}
    segmenter = network.build(
        architecture="unet",
        encoder="resnet18",
        weights=None,
        options=options,
        num_logits=2,
        mean=[100, 110, 120],
        std=[50, 60, 70],
    )
    with torch.no_grad():  # running statistics other than the initial ones, so that they must be saved
        segmenter.train()(torch.from_numpy(IMAGE).permute(2, 0, 1)[None])
    facts: dict[str, Any] = {"architecture": "unet", "encoder": "resnet18", "options": options}
    bundles.save(folder, segmenter, classes=CLASSES, size_px=(64, 96), **facts)
    expected = segmenter.eval()(torch.from_numpy(np.zeros((64, 96, 3), np.uint8)).permute(2, 0, 1)[None])
    torch.save(expected.detach(), folder.parent / "expected.pt")
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "unet"
    folder.mkdir()
    for path in saved.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_a_loaded_bundle_scores_as_before(saved: Path) -> None:
    loaded = bundle.load(saved)
    found = loaded.segmenter(torch.zeros(1, 3, 64, 96, dtype=torch.uint8))
    assert torch.allclose(found, torch.load(saved.parent / "expected.pt", weights_only=True))
    assert loaded.classes == CLASSES
    assert loaded.sha256 == bundle.digest(saved)


@pytest.mark.parametrize("shape", [(50, 70), (64, 96), (1, 1), (301, 40), (20, 333)])
def test_a_mask_has_the_images_own_size(saved: Path, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    mask = Predictor(bundle.load(saved))(image)
    assert mask.shape == shape
    assert set(np.unique(mask)) <= {0, 1}


@pytest.mark.parametrize("image", [IMAGE[..., 0], IMAGE.astype(float), IMAGE[..., :2]])
def test_an_array_that_is_no_rgb_image_is_refused(saved: Path, image: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected uint8 of shape height x width x 3"):
        Predictor(bundle.load(saved))(image)


def test_one_changed_byte_of_the_weights_is_noticed(copy: Path) -> None:
    weights = bytearray((copy / bundle.WEIGHTS).read_bytes())
    weights[-5] ^= 1
    (copy / bundle.WEIGHTS).write_bytes(weights)
    with pytest.raises(BundleError, match="is not the file that bundle.json was written for"):
        bundle.load(copy)


def with_right_hashes(folder: Path) -> Path:
    """A bundle that somebody has changed who knows how bundles are made."""
    facts = json.loads((folder / bundle.FACTS).read_text())
    facts["files"] = {name: digests.of_file(folder / name) for name in facts["files"]}
    (folder / bundle.FACTS).write_text(json.dumps(facts))
    return folder


class Canary:
    """Pickled, it is a call of a program of somebody else's."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.system, (f"touch {self.path}",)


def header(told: dict[str, Any], values: bytes = b"") -> bytes:
    """A safetensors file."""
    text = json.dumps(told).encode()
    return len(text).to_bytes(8, "little") + text + values


@pytest.mark.parametrize(
    "weights",
    [
        lambda good, path: pickle.dumps(Canary(path)),
        lambda good, path: good[:-1000],
        lambda good, path: good[: len(good) // 2],
        lambda good, path: b"",
        lambda good, path: (2**40).to_bytes(8, "little") + good[8:],
        lambda good, path: header({f"t{n}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for n in range(100_000)}),
        lambda good, path: header({name: {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]} for name in ("a", "b")}, bytes(8)),
        lambda good, path: header({"a": {"dtype": "U8", "shape": [2**40], "data_offsets": [0, 2**40]}}, bytes(8)),
    ],
    ids=["pickle", "cut", "half", "empty", "long header", "100,000 tensors", "overlapping", "beyond the end"],
)
def test_weights_made_to_do_harm_are_refused_and_run_nothing(
    copy: Path, tmp_path: Path, weights: Callable[[bytes, Path], bytes]
) -> None:
    path = copy / bundle.WEIGHTS
    path.write_bytes(weights(path.read_bytes(), tmp_path / "canary"))
    with pytest.raises(BundleError):
        _ = bundle.load(with_right_hashes(copy)).segmenter
    assert not (tmp_path / "canary").exists()


def test_options_that_ask_for_more_than_the_weights_have_take_no_memory(copy: Path) -> None:
    facts = json.loads((copy / bundle.FACTS).read_text())
    facts["options"] |= {"decoder_channels": [2_000_000, 8, 8]}
    (copy / bundle.FACTS).write_text(json.dumps(facts))
    before = psutil.Process().memory_info().rss
    with pytest.raises(BundleError, match=r"its weights do not fit unet with resnet18: .* is .*, expected .*2000000"):
        _ = bundle.load(copy).segmenter
    assert psutil.Process().memory_info().rss - before < 500e6


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"../secret": "0" * 64, "model.safetensors": "0" * 64}},
        {"files": {"/etc/passwd": "0" * 64, "model.safetensors": "0" * 64}},
        {"scale": 0},
        {"scale": -1.0},
        {"size_px": [0, 0]},
        {"size_px": [1_000_000, 1_000_000]},
        {"std": [0.0, 1.0, 1.0]},
        {"mean": [1.0]},
        {"thresholds": [1.5]},
        {"thresholds": [0.5, 0.5, 0.5]},
        {"classes": []},
        {"classes": [{"name": "a", "value": 0}]},
        {"classes": [{"name": name, "value": 0, "color": [1, 2, 3], "ignore": False} for name in "ab"]},
        {"classes": [{"name": f"c{n}", "value": n, "color": [1, 2, 3], "ignore": False} for n in range(300)]},
        {"code": "import os"},
    ],
    ids=str,
)
def test_facts_that_make_no_sense_are_refused(copy: Path, change: dict[str, Any]) -> None:
    facts = json.loads((copy / bundle.FACTS).read_text())
    (copy / bundle.FACTS).write_text(json.dumps(facts | change))
    with pytest.raises(BundleError, match=r"bundle.json: is damaged or of another version"):
        bundle.load(copy)


def test_a_folder_that_was_replaced_since_is_noticed(copy: Path) -> None:
    loaded = bundle.load(copy)
    weights = bytearray((copy / bundle.WEIGHTS).read_bytes())
    weights[-5] ^= 1
    (copy / bundle.WEIGHTS).write_bytes(weights)
    with pytest.raises(BundleError, match="is not the file that bundle.json was written for"):
        _ = with_right_hashes(copy) and loaded.segmenter


def test_a_missing_part_is_named(copy: Path) -> None:
    (copy / bundle.WEIGHTS).unlink()
    with pytest.raises(BundleError, match="model.safetensors is missing"):
        bundle.load(copy)


def test_damaged_facts_are_said(copy: Path) -> None:
    facts = json.loads((copy / bundle.FACTS).read_text())
    del facts["encoder"]
    (copy / bundle.FACTS).write_text(json.dumps(facts))
    with pytest.raises(BundleError, match="is damaged or of another version"):
        bundle.load(copy)


def test_it_predicts_with_what_it_was_scored_with(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("segmodels.device.default", lambda: torch.device("cpu"))
    loaded = bundle.load(saved)
    assert _scored_with(loaded) == ("auto", "auto")
    path = tmp_path / "data" / "evaluated" / "unet" / "scores.json"
    path.parent.mkdir(parents=True)
    scores = {"bundle_sha256": loaded.sha256, "device": "cpu", "backend": "onnxruntime", "precision": "fp32"}
    path.write_text(json.dumps(scores))
    assert _scored_with(loaded) == ("onnxruntime", "fp32")
    for other in ({"bundle_sha256": "of another"}, {"device": "cuda"}):
        path.write_text(json.dumps(scores | other))
        assert _scored_with(loaded) == ("auto", "auto")


@pytest.mark.unhurried
def test_tiles_are_taken_for_an_image_much_larger_than_those_of_training(saved: Path) -> None:
    """Images of training were as large as the network's size, 64 x 96."""
    predictor = Predictor(bundle.load(saved))
    assert not predictor.in_tiles(128, 192) and predictor.in_tiles(129, 20) and predictor.in_tiles(20, 193)
    image = np.tile(IMAGE, (4, 4, 1))  # 200 x 280
    whole = Predictor(bundle.load(saved), tiles="never")(image)
    tiled = predictor(image)
    assert whole.shape == tiled.shape == (200, 280)
    assert (whole != tiled).any()  # seen at another scale


def test_one_tile_is_the_whole_image(saved: Path) -> None:
    image = np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8)
    expected = Predictor(bundle.load(saved), tiles="never")(image)
    assert (Predictor(bundle.load(saved), tiles="always")(image) == expected).all()


def test_mirror_images_count_alike(saved: Path) -> None:
    """What is averaged over mirror images is the mirrored of the mirrored."""
    predictor = Predictor(bundle.load(saved), flips=True)
    image = np.random.default_rng(4).integers(0, 256, (64, 96, 3), np.uint8)
    one, other = predictor.probabilities(image), predictor.probabilities(np.ascontiguousarray(image[:, ::-1]))
    np.testing.assert_allclose(one, other[..., ::-1], atol=0.02)  # of bf16, where the machine has it
    assert np.abs(one - Predictor(bundle.load(saved)).probabilities(image)).max() > 0.02


def test_a_large_image_is_enlarged_band_by_band_as_at_once(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(5).integers(0, 256, (300, 200, 3), np.uint8)
    predictor = Predictor(bundle.load(saved), tiles="never")
    expected = predictor.probabilities(image)
    monkeypatch.setattr("segmodels.predict.BAND_VALUES", 2 * 200 * 7)  # seven rows at a time
    assert len(list(predictor.bands(image))) == 43
    np.testing.assert_allclose(predictor.probabilities(image), expected, atol=1e-5)


def test_a_checkpoint_made_to_do_harm_runs_nothing(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "x": Canary(tmp_path / "canary")}, tmp_path / "zip.ckpt")
    (tmp_path / "bare.ckpt").write_bytes(pickle.dumps(Canary(tmp_path / "canary"), protocol=2))  # torch warns of others
    for path in sorted(tmp_path.glob("*.ckpt")):
        with pytest.raises(pickle.UnpicklingError):
            checkpoints.read(path)
    assert not (tmp_path / "canary").exists()


def test_a_network_that_looks_at_values_as_it_is_built_is_loaded(tmp_path: Path) -> None:
    facts: dict[str, Any] = {"architecture": "segformer", "encoder": "mit_b0", "options": {}}
    segmenter = network.build(**facts, weights=None, num_logits=2, mean=[0] * 3, std=[1] * 3)  # one of the classes is void
    bundles.save(tmp_path / "m", segmenter, classes=CLASSES, size_px=(64, 64), **facts)
    found = bundle.load(tmp_path / "m").segmenter.state_dict()
    assert all((found[name] == value).all() for name, value in segmenter.state_dict().items())
