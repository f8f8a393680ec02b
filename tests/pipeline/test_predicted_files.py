"""Files and folders of images to files of masks: what is written, what is refused, and that one bad file does not stop the rest."""

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image
from pycocotools import mask as coco

from segmodels import bundle
from segmodels.decoding import decode
from segmodels.errors import InputError
from segmodels.predict import Predictor
from segmodels.predicted_files import Wanted, find, predict_files
from segmodels.samples import ImageKind, trained
from tests.conftest import clean_environment
from tests.test_bundle_and_predict import CLASSES, IMAGE, save_small_unet


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_unet(tmp_path_factory.mktemp("bundles") / "unet")


def written(predictor: Predictor, inputs: Sequence[Path], out: Path, **wanted: bool) -> dict[Path, str | None]:
    """What is said of each image."""
    return dict(predict_files(predictor, find([str(one) for one in inputs], out), out, Wanted(**wanted)))


def ended(task: tuple[Path, ImageKind, Path]) -> str | None:
    """A decoder that one file crashes."""
    if task[0].stem == "bad":
        os.kill(os.getpid(), signal.SIGSEGV)
    return decode(task)


def test_files_and_folders_are_predicted_and_a_bad_one_does_not_stop_the_rest(saved: Path, tmp_path: Path) -> None:
    images = tmp_path / "images" / "deep"
    images.mkdir(parents=True)
    Image.fromarray(IMAGE).save(images / "good.png")
    (images / "bad.jpg").write_bytes(b"no picture")
    Image.fromarray(IMAGE[..., 0]).save(tmp_path / "gray.png")
    predictor = Predictor(bundle.load(saved))
    said = written(predictor, [tmp_path / "images", tmp_path / "gray.png"], tmp_path / "out")
    assert "cannot be read" in str(said.pop(images / "bad.jpg"))
    assert said == {images / "good.png": None, tmp_path / "gray.png": None}
    with Image.open(tmp_path / "out" / "deep" / "good.png") as mask:
        assert mask.mode == "P"
        assert mask.getpalette()[:6] == [10, 20, 30, 40, 50, 60]  # type: ignore[index]
        assert (np.array(mask) == predictor(IMAGE)).all()
    with Image.open(tmp_path / "out" / "gray_overlay.png") as overlay:
        assert overlay.size == (70, 50)


def test_names_that_cannot_be_written_do_not_stop_the_rest(saved: Path, tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    names = ["good.png", "taken.png", "x" * 245 + ".png", os.fsdecode(b"bad\xff.png")]
    for name in names:
        Image.fromarray(IMAGE).save(images / name)
    (out / "taken.png").mkdir(parents=True)
    said = written(Predictor(bundle.load(saved)), [images], out, polygons=True)
    assert said.pop(images / "good.png") is None
    assert "its name is not in UTF-8; rename it" in str(said.pop(images / names[3]))
    assert len(said) == 2 and all("its results cannot be written" in str(one) for one in said.values())
    assert [one["file_name"] for one in json.loads((out / "polygons.json").read_text())["images"]] == ["good.png"]


def test_results_go_into_a_folder(tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="out: is no folder; choose another --out"):
        find([str(tmp_path / "a.png")], tmp_path / "out")


def test_only_names_that_are_written_can_clash(tmp_path: Path) -> None:
    images = [str(tmp_path / name) for name in ("a.png", "a_overlay.png")]
    for path in images:
        Image.fromarray(IMAGE).save(path)
    with pytest.raises(InputError, match=r"a_overlay.png would be written for"):
        find(images, tmp_path / "out")
    assert len(find(images, tmp_path / "out", Wanted(overlay=False))) == 2


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (Image.fromarray(IMAGE).convert("P"), "is in PALETTE"),
        (Image.fromarray(IMAGE[..., 0] > 128), "has 1 bits a channel"),
    ],
    ids=["palette", "one bit"],
)
def test_a_large_tiff_that_is_not_what_it_holds_is_refused(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: Image.Image, said: str
) -> None:
    image.save(tmp_path / "scan.tif")
    monkeypatch.setattr("segmodels.bounds._max_pixels", 100)
    found = written(Predictor(bundle.load(saved)), [tmp_path / "scan.tif"], tmp_path / "out", large=True)
    assert said in str(found[tmp_path / "scan.tif"])


def test_an_inverted_large_tiff_is_refused(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "scan.tif", IMAGE[..., 0], photometric="miniswhite")
    monkeypatch.setattr("segmodels.bounds._max_pixels", 100)
    found = written(Predictor(bundle.load(saved)), [tmp_path / "scan.tif"], tmp_path / "out", large=True)
    assert "is in MINISWHITE, which is not read piece by piece" in str(found[tmp_path / "scan.tif"])


def test_a_file_that_crashes_its_decoder_does_not_stop_the_rest(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "bad", "c"):
        Image.fromarray(IMAGE).save(tmp_path / f"{name}.png")
    monkeypatch.setattr("segmodels.predicted_files.decode", ended)
    said = written(Predictor(bundle.load(saved)), [tmp_path / f"{name}.png" for name in ("a", "bad", "c")], tmp_path / "out")
    assert "ended the process that read it (exit code -11); it is damaged, or made to do harm" in str(said[tmp_path / "bad.png"])
    assert said[tmp_path / "a.png"] is None and said[tmp_path / "c.png"] is None
    assert sorted(one.name for one in (tmp_path / "out").glob("?.png")) == ["a.png", "c.png"]


def test_classes_that_overlap_have_a_file_each(saved: Path, tmp_path: Path) -> None:
    facts = json.loads((saved / bundle.FACTS).read_text())
    shutil.copytree(saved, tmp_path / "bundle")
    (tmp_path / "bundle" / bundle.FACTS).write_text(json.dumps(facts | {"task": "multilabel"}))
    Image.fromarray(IMAGE).save(tmp_path / "one.png")
    predictor = Predictor(bundle.load(tmp_path / "bundle"))
    assert written(predictor, [tmp_path / "one.png"], tmp_path / "out") == {tmp_path / "one.png": None}
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
        written(Predictor(bundle.load(tmp_path / "bundle")), [tmp_path / "one.png"], tmp_path / "out" / "deep")
    assert not (tmp_path / "out").exists()


def test_two_images_of_one_name_are_refused_before_any_work(saved: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(IMAGE).save(tmp_path / name / "same.png")
    with pytest.raises(InputError, match=r"out/same.png would be written for .*a/same.png too; rename one of them"):
        written(Predictor(bundle.load(saved)), [tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("names", "inputs", "out", "said"),
    [
        (["a.png"], ["."], ".", "is one of the images, and would be written over"),
        (["a.png"], ["a.png"], ".", "is one of the images, and would be written over"),
        (["a.png", "a_overlay.png"], ["."], "out", "would be written for .*a.png too; rename one of them"),
        (["a.png", "a.jpg"], ["."], "out", "would be written for .*a.jpg too; rename one of them"),
    ],
)
def test_nothing_is_written_over_an_image_or_another_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], inputs: list[str], out: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in names:
        Image.fromarray(IMAGE).save(name)
    with pytest.raises(InputError, match=said):
        find(inputs, Path(out))


def test_what_an_earlier_run_has_written_is_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "out/a.png", "out/a_overlay.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(IMAGE).save(name)
    assert find(["."], Path("out")) == {Path("a.png"): Path("out/a")}


def test_broken_files_end_no_run(saved: Path, tmp_path: Path) -> None:
    """Whatever a decoder raises: of files with bytes changed at random."""
    rng = np.random.default_rng(0)
    paths = []
    for suffix in ("png", "jpg", "tif", "webp", "bmp"):
        Image.fromarray(IMAGE).save(tmp_path / f"good.{suffix}")
        good = (tmp_path / f"good.{suffix}").read_bytes()
        for number in range(60):
            content = bytearray(good)
            for at in rng.integers(0, min(len(good), 300), 3):
                content[at] = rng.integers(256)
            paths.append(tmp_path / f"{suffix}{number}.{suffix}")
            paths[-1].write_bytes(content)
    said = written(Predictor(bundle.load(saved)), paths, tmp_path / "out", overlay=False)
    assert said.keys() == set(paths) and None in said.values() and len(set(said.values())) > 20


def test_a_pattern_names_images_and_what_names_none_is_said(saved: Path, tmp_path: Path) -> None:
    for name in ("a1.png", "a2.png", "b.png"):
        Image.fromarray(IMAGE).save(tmp_path / name)
    assert [one.name for one in find([str(tmp_path / "a*.png")], tmp_path / "out")] == ["a1.png", "a2.png"]
    with pytest.raises(InputError, match="there is no such file or folder, and no file fits it as a pattern"):
        find([str(tmp_path / "c*.png")], tmp_path / "out")


def test_probabilities_are_those_of_the_mask(saved: Path, tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "one.png")
    predictor = Predictor(bundle.load(saved))
    assert written(predictor, [tmp_path / "one.png"], tmp_path / "out", overlay=False, probabilities=True) == {
        tmp_path / "one.png": None
    }
    found = np.load(tmp_path / "out" / "one.npy", allow_pickle=False)
    assert (found.shape, found.dtype) == ((2, 50, 70), np.float16)
    np.testing.assert_allclose(found.astype(float).sum(axis=0), 1, atol=1e-3)
    mask = np.asarray(Image.open(tmp_path / "out" / "one.png"))
    clear = np.abs(found[0].astype(float) - found[1]) > 1e-2  # float16 ties elsewhere
    assert (found.argmax(axis=0)[clear] == mask[clear]).all()
    assert not (tmp_path / "out" / "one_overlay.png").exists()


def test_polygons_are_the_mask_again(saved: Path, tmp_path: Path) -> None:
    """As pycocotools reads them; an untrained network draws parts with holes and corners that touch."""
    Image.fromarray(IMAGE).save(tmp_path / "one.png")
    written(Predictor(bundle.load(saved)), [tmp_path / "one.png"], tmp_path / "out", polygons=True)
    told = json.loads((tmp_path / "out" / "polygons.json").read_text())
    assert told["images"] == [{"id": 1, "file_name": "one.png", "height": 50, "width": 70}]
    assert [one["name"] for one in told["categories"]] == ["sky", "road"]
    again = np.full((50, 70), 255, np.uint8)
    kinds = set()
    for one in told["annotations"]:
        shape = one["segmentation"]
        kinds.add(type(shape))
        encoded = coco.merge(coco.frPyObjects(shape, 50, 70)) if isinstance(shape, list) else shape
        decoded = coco.decode(encoded)
        assert decoded.sum() == one["area"]
        again[decoded == 1] = one["category_id"] - 1
    assert (again == np.asarray(Image.open(tmp_path / "out" / "one.png"))).all()
    assert kinds == {list, dict}


def test_a_large_tiff_is_predicted_by_windows_in_its_place_on_earth(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(6).integers(0, 256, (700, 300, 3), np.uint8)
    place = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)
    with rasterio.open(
        tmp_path / "scan.tif",
        "w",
        driver="GTiff",
        height=700,
        width=300,
        count=3,
        dtype="uint8",
        crs="EPSG:32633",
        transform=place,
    ) as file:
        file.write(image.transpose(2, 0, 1))
    predictor = Predictor(bundle.load(saved))
    monkeypatch.setattr("segmodels.bounds._max_pixels", 100_000)
    assert written(predictor, [tmp_path / "scan.tif"], tmp_path / "out", large=True) == {tmp_path / "scan.tif": None}
    with rasterio.open(tmp_path / "out" / "scan.tif") as mask:
        assert (mask.crs.to_epsg(), mask.transform, mask.shape) == (32633, place, (700, 300))
        assert mask.colormap(1)[1] == (40, 50, 60, 255)
        assert (mask.read(1) == predictor(image)).all()
    with Image.open(tmp_path / "out" / "scan_overlay.png") as overlay:
        assert overlay.size == (300, 700)
    (tmp_path / "cut.tif").write_bytes((tmp_path / "scan.tif").read_bytes()[:90_000])
    said = written(predictor, [tmp_path / "cut.tif"], tmp_path / "cut", large=True)
    assert "cannot be read" in str(said[tmp_path / "cut.tif"]) and not list((tmp_path / "cut").glob("*"))


def crashed(path: Path, *_: object) -> None:
    """A reader of pieces that one file crashes."""
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_large_file_that_crashes_its_reader_does_not_stop_the_rest(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = tmp_path / "bad.tif", tmp_path / "good.tif"
    Image.fromarray(IMAGE).save(bad)
    Image.fromarray(IMAGE[:20, :30]).save(good)
    monkeypatch.setattr("segmodels.bounds._max_pixels", 1000)
    monkeypatch.setattr("segmodels.large_images._write_piece", crashed)
    said = written(Predictor(bundle.load(saved)), [bad, good], tmp_path / "out", large=True)
    assert "ended the process that read it (exit code -11)" in str(said[bad])
    assert said[good] is None
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["good.png", "good_overlay.png"]


def test_on_a_terminal_one_sees_how_far_it_is(saved: Path, tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(IMAGE).save(tmp_path / f"{number}.png")
    command = [
        sys.executable,
        "-m",
        "segmodels",
        "predict",
        str(tmp_path),
        "--bundle",
        str(saved),
        "--out",
        str(tmp_path / "out"),
    ]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=clean_environment(TERM="xterm")
    ) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # which says that nobody writes any more
            while some := os.read(ours, 4096):
                shown += some
    os.close(ours)
    assert process.returncode == 0, shown
    text = shown.decode()
    assert "predicting images" in text and "100%" in text
    assert "masks of 3 images in" in text
