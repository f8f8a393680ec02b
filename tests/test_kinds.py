"""Images that are not RGB in 8 bits: read exactly, packed, drawn, fitted and shown."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from segmodels import augment, catalog, images
from segmodels.dataset import open_dataset
from segmodels.errors import DatasetError
from segmodels.images import read_image
from segmodels.recipes import Recipe
from segmodels.resizing import fit_and_pad
from segmodels.samples import RGB, ImageKind, SegmentationClass
from segmodels.shards import Pair
from tests.conftest import examined, stored

GRAY16, RGB16, FIVE, GRAY = ImageKind(1, 16), ImageKind(3, 16), ImageKind(5, 8), ImageKind(1, 8)
DEEP = np.random.default_rng(0).integers(0, 65536, (6, 9), np.uint16)
COLORS16 = np.random.default_rng(1).integers(0, 65536, (6, 9, 3), np.uint16)
CHANNELS = np.random.default_rng(2).integers(0, 256, (6, 9, 5), np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_of_gray_are_kept(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    Image.fromarray(DEEP).save(path)
    assert (read_image(path, GRAY16)[..., 0] == DEEP).all()
    assert (read_image(path, RGB16) == DEEP[..., None]).all()
    with pytest.raises(DatasetError, match="image has 16 bits a channel; re-export it with 8"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_of_colour_are_kept(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    cv2.imwrite(str(path), COLORS16[..., ::-1])
    assert (read_image(path, RGB16) == COLORS16).all()
    with pytest.raises(DatasetError, match="all of them: dataset.bits: 16"):  # Pillow alone would cut them down in silence
        read_image(path)
    gray = read_image(path, GRAY16)[..., 0].astype(float)
    np.testing.assert_allclose(gray, COLORS16 @ [0.299, 0.587, 0.114], atol=2)  # OpenCV rounds the shares


def test_eight_bits_are_spread_over_sixteen(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1, 255]], np.uint8)).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png", GRAY16)[..., 0].tolist() == [[0, 257, 65535]]
    assert read_image(tmp_path / "x.png", GRAY).tolist() == [[[0], [1], [255]]]


@pytest.mark.parametrize(
    "write",
    [
        lambda path: tifffile.imwrite(path, CHANNELS, planarconfig="contig", photometric="minisblack"),
        lambda path: tifffile.imwrite(path, np.moveaxis(CHANNELS, -1, 0), photometric="minisblack"),
        lambda path: tifffile.imwrite(path, np.moveaxis(CHANNELS, -1, 0), photometric="minisblack", compression="zlib"),
    ],
)
def test_many_channels_are_read_from_tiff(write: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    write(path)
    assert (read_image(path, FIVE) == CHANNELS).all()
    for kind in (RGB, ImageKind(4, 8)):
        with pytest.raises(DatasetError, match=f"image has 5 channels, the dataset {kind.channels}"):
            read_image(path, kind)


def test_pages_of_a_tiff_are_channels_and_none_is_dropped(tmp_path: Path) -> None:
    pages = np.random.default_rng(5).integers(0, 256, (3, 6, 9), np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", pages, photometric="minisblack")
    assert (read_image(tmp_path / "x.tif") == np.moveaxis(pages, 0, -1)).all()
    with pytest.raises(DatasetError, match="image has 3 channels, the dataset 1"):
        read_image(tmp_path / "x.tif", GRAY)


@pytest.mark.parametrize("value", [-1, 2_000_000_000])
def test_a_mask_of_values_that_no_class_can_have_is_refused_before_it_takes_memory(value: int, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "m.tif", np.array([[0, value]], np.int32))
    with pytest.raises(DatasetError, match="expected ids of classes, from 0 to 65535"):
        images.read_mask(tmp_path / "m.tif", [SegmentationClass("a", 0, (0, 0, 0)), SegmentationClass("b", 1, (9, 9, 9))])


def test_what_is_no_image_of_the_kind_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (9, 6)).save(tmp_path / "x.png")
    with pytest.raises(DatasetError, match="images of 5 channels are read from TIFF files alone"):
        read_image(tmp_path / "x.png", FIVE)
    tifffile.imwrite(tmp_path / "f.tif", CHANNELS.astype(np.float32), photometric="minisblack")
    with pytest.raises(DatasetError, match="image is of float32; re-export it with 8 or 16 bits"):
        read_image(tmp_path / "f.tif", FIVE)
    tifffile.imwrite(tmp_path / "c.tif", CHANNELS, planarconfig="contig", photometric="minisblack")
    whole = (tmp_path / "c.tif").read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "c.tif").write_bytes(whole[:length])
        with pytest.raises(DatasetError):
            read_image(tmp_path / "c.tif", FIVE)


def picture(kind: ImageKind, size: tuple[int, int] = (70, 90)) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.integers(0, np.iinfo(kind.dtype).max, (*size, kind.channels), kind.dtype, endpoint=True)


KINDS = [RGB, GRAY, GRAY16, RGB16, FIVE, ImageKind(7, 16)]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("name", catalog.names("augmentations"))
def test_every_recipe_draws_every_kind(name: str, kind: ImageKind, tmp_path: Path) -> None:
    recipe = Recipe(catalog.build("augmentations", name, (32, 48)), (32, 48), kind)
    mask = np.kron(np.arange(4, dtype=np.uint8).reshape(2, 2), np.ones((35, 45), np.uint8))
    for seed in range(12):
        augment.check(recipe, picture(kind), mask, name="drawn", seed=seed)
    recipe.save(tmp_path / "recipe.json")
    image, drawn = Recipe.load(tmp_path / "recipe.json")(picture(kind), mask, seed=5)
    its_image, its_drawn = recipe(picture(kind), mask, seed=5)
    assert image.dtype == kind.dtype and (image == its_image).all() and (drawn == its_drawn).all()


@pytest.mark.parametrize("name", ["light", "microscopy", "strong", "street"])
def test_what_fills_little_of_sixteen_bits_is_not_washed_out(name: str) -> None:
    """A sensor's image: of 65,536 values it has some 200; twice as bright on the right, and one pixel is broken."""
    rng = np.random.default_rng(4)
    image = rng.normal(900, 5, (60, 80, 1)).astype(np.uint16)
    image[:, 40:] += 100
    image[5, 5] = 65535
    right = np.zeros((60, 80), np.uint8)
    right[:, 40:] = 1
    recipe = Recipe(catalog.build("augmentations", name, (32, 48)), (32, 48), GRAY16)
    apart = []
    for seed in range(40):
        drawn, mask = recipe(image, right, seed=seed)
        if min((mask == 0).sum(), (mask == 1).sum()) > 100:
            apart.append(float(np.median(drawn[mask == 1])) - float(np.median(drawn[mask == 0])))
    assert len(apart) > 20 and min(apart) > 10 and max(apart) < 200


def test_a_fitted_image_goes_on_as_it_ends() -> None:
    """16 x 8 pixels in a square of 16: the right half is the last column again, and void."""
    image = np.arange(16 * 8, dtype=np.uint8).reshape(16, 8, 1)
    fitted, mask = fit_and_pad(image, np.zeros((16, 8), np.uint8), (16, 16))
    assert (fitted[:, :8] == image).all() and (fitted[:, 8:] == image[:, 7:]).all()
    assert (mask[:, :8] == 0).all() and (mask[:, 8:] == 255).all()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_kind_is_fitted_shown_and_stored(kind: ImageKind, tmp_path: Path) -> None:
    image, mask = picture(kind), np.zeros((70, 90), np.uint8)
    mask[:20] = 1
    for size in ((32, 32), (100, 160)):
        fitted, _ = fit_and_pad(image, mask, size)
        assert (fitted.shape, fitted.dtype) == ((*size, kind.channels), kind.dtype)
    seen = images.shown(image)
    assert seen.shape == (70, 90, 3) and seen.dtype == np.uint8
    classes = [SegmentationClass("a", 0, (0, 0, 0)), SegmentationClass("b", 1, (9, 9, 9))]
    other = picture(kind, (11, 13))
    found = stored(
        tmp_path / "store", [Pair("x", image, mask), Pair("y", other, np.zeros((11, 13), np.uint8))], classes, kind=kind
    )
    assert found.kind == kind
    assert (found.image(0) == image).all() and (found.image(1) == other).all()
    pixels = np.concatenate([image.reshape(-1, kind.channels), other.reshape(-1, kind.channels)]).astype(float)
    np.testing.assert_allclose(found.mean, pixels.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.std, pixels.std(axis=0), rtol=1e-6)


def test_the_real_frame_of_sixteen_bits_is_read(real_data: Path) -> None:
    folder = real_data / "oddities" / "image_16bit_gray"
    classes = [SegmentationClass(str(n), n, (n, n, n)) for n in range(12)]
    [(_, facts), *_] = examined(open_dataset(folder, classes=classes, kind=ImageKind(3, 16)))
    assert (facts.height, facts.width, len(facts.total)) == (360, 480, 3)
