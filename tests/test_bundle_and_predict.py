"""A bundle predicts after loading as before saving, at the image's own size, and is refused when it is not what it was."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segmodels import bundle, network
from segmodels.errors import BundleError, InputError
from segmodels.predict import Predictor, predict_files
from segmodels.samples import SegmentationClass, trained

CLASSES = [
    SegmentationClass("sky", 3, (10, 20, 30)),
    SegmentationClass("road", 7, (40, 50, 60)),
    SegmentationClass("v", 9, (0, 0, 0), True),
]
IMAGE = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "unet"
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
    bundle.save(
        folder,
        segmenter,
        candidate="unet",
        architecture="unet",
        encoder="resnet18",
        options=options,
        task="multiclass",
        classes=CLASSES,
        size_px=(64, 96),
        training={"seed": 0},
        dataset_sha256="0" * 64,
    )
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


def test_files_and_folders_are_predicted_and_a_bad_one_does_not_stop_the_rest(saved: Path, tmp_path: Path) -> None:
    images = tmp_path / "images" / "deep"
    images.mkdir(parents=True)
    Image.fromarray(IMAGE).save(images / "good.png")
    (images / "bad.jpg").write_bytes(b"no picture")
    Image.fromarray(IMAGE[..., 0]).save(tmp_path / "gray.png")
    predictor = Predictor(bundle.load(saved))
    said = dict(predict_files(predictor, [tmp_path / "images", tmp_path / "gray.png"], tmp_path / "out"))
    assert "cannot be read" in str(said.pop(images / "bad.jpg"))
    assert said == {images / "good.png": None, tmp_path / "gray.png": None}
    with Image.open(tmp_path / "out" / "deep" / "good.png") as mask:
        assert mask.mode == "P"
        assert mask.getpalette()[:6] == [10, 20, 30, 40, 50, 60]  # type: ignore[index]
        assert (np.array(mask) == predictor(IMAGE)).all()
    with Image.open(tmp_path / "out" / "gray_overlay.png") as overlay:
        assert overlay.size == (70, 50)


def test_classes_that_overlap_have_a_file_each(saved: Path, tmp_path: Path) -> None:
    facts = json.loads((saved / bundle.FACTS).read_text())
    shutil.copytree(saved, tmp_path / "bundle")
    (tmp_path / "bundle" / bundle.FACTS).write_text(json.dumps(facts | {"task": "multilabel"}))
    Image.fromarray(IMAGE).save(tmp_path / "one.png")
    predictor = Predictor(bundle.load(tmp_path / "bundle"))
    assert dict(predict_files(predictor, [tmp_path / "one.png"], tmp_path / "out")) == {tmp_path / "one.png": None}
    predicted = predictor(IMAGE)
    assert predicted.shape == (2, 50, 70)
    for one, layer in zip(trained(CLASSES), predicted, strict=True):
        with Image.open(tmp_path / "out" / "one" / f"{one.name}.png") as mask:
            assert (np.array(mask) == layer * 255).all()
    assert (tmp_path / "out" / "one_overlay.png").is_file()


def test_a_class_never_names_a_file_elsewhere(saved: Path, tmp_path: Path) -> None:
    facts = json.loads((saved / bundle.FACTS).read_text())
    facts["classes"][0]["name"] = "../../sky"
    shutil.copytree(saved, tmp_path / "bundle")
    (tmp_path / "bundle" / bundle.FACTS).write_text(json.dumps(facts | {"task": "multilabel"}))
    Image.fromarray(IMAGE).save(tmp_path / "one.png")
    with pytest.raises(InputError, match=r"'../../sky' cannot name a file"):
        list(predict_files(Predictor(bundle.load(tmp_path / "bundle")), [tmp_path / "one.png"], tmp_path / "out" / "deep"))
    assert not (tmp_path / "out").exists()


def test_two_images_of_one_name_are_refused_before_any_work(saved: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(IMAGE).save(tmp_path / name / "same.png")
    with pytest.raises(InputError, match="another image of the same name"):
        list(predict_files(Predictor(bundle.load(saved)), [tmp_path / "a", tmp_path / "b"], tmp_path / "out"))
    assert not (tmp_path / "out").exists()
