"""Pictures as cameras and programs write them: turned, in palettes, in several pages, blurred, behind links."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from segmodels.dataset import open_dataset
from segmodels.errors import DatasetError
from segmodels.images import read_image, read_layer, read_mask
from segmodels.samples import ImageKind, SegmentationClass
from tests.conftest import MakeDataset, decoded
from tests.test_every_format import COLORS, SCENES, cvat, folder, folder_of_colors, labels, picture, written, yolo_seg

CLASSES = [SegmentationClass(name, value, color) for value, (name, color) in enumerate(COLORS.items())]
SCENE = labels(SCENES["one"])
ORIENTATION = 0x112


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("channels", "bits"), [(1, 8), (3, 16), (1, 16), (5, 8), (5, 16)])
def test_a_tiff_of_any_depth_is_turned_as_one_of_eight_bits(
    tmp_path: Path, orientation: int, channels: int, bits: Literal[8, 16]
) -> None:
    values = np.random.default_rng(0).integers(0, 256, (20, 30, channels), np.uint16)
    tag = [(ORIENTATION, "H", 1, orientation, True)]
    photometric = "rgb" if channels == 3 else "minisblack"
    deep = values.astype(np.uint8 if bits == 8 else np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep if channels > 1 else deep[..., 0], photometric=photometric, extratags=tag)
    plain = Image.fromarray(values[..., 0].astype(np.uint8))
    plain.getexif()[ORIENTATION] = orientation
    upright = np.asarray(ImageOps.exif_transpose(plain))
    assert (read_image(tmp_path / "deep.tif", ImageKind(channels, bits))[..., 0] == upright).all()


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda pixels: pixels),
        (2, lambda pixels: pixels[:, ::-1]),
        (3, lambda pixels: pixels[::-1, ::-1]),
        (6, lambda pixels: np.rot90(pixels, -1)),
        (8, lambda pixels: np.rot90(pixels)),
    ],
)
def test_a_camera_says_how_it_was_held(tmp_path: Path, orientation: int, upright: object) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(pixels).save(tmp_path / "one.png", exif=exif)
    assert callable(upright)
    assert np.array_equal(read_image(tmp_path / "one.png"), upright(pixels))


def test_names_in_capitals_and_of_any_alphabet_are_read(make_dataset: MakeDataset) -> None:
    root = make_dataset({"one": np.eye(4)})
    for kind, suffix in (("images", ".PNG"), ("masks", ".Png")):
        (root / kind / "one.png").rename(root / kind / f"Straße 東京{suffix}")
    [(sample, _, mask)] = decoded(open_dataset(root))
    assert (sample.id, mask.tolist()) == ("Straße 東京", np.eye(4).tolist())


def test_what_shines_through_is_named(tmp_path: Path) -> None:
    pixels = np.full((4, 6, 4), 255, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    assert read_image(tmp_path / "one.png").shape == (4, 6, 3)
    pixels[0, 0, 3] = 128
    Image.fromarray(pixels).save(tmp_path / "one.png")
    with pytest.raises(DatasetError, match="one.png: image is partly transparent; flatten it onto a background"):
        read_image(tmp_path / "one.png")
    with pytest.raises(DatasetError, match="one.png: mask is partly transparent; export it opaque"):
        read_mask(tmp_path / "one.png", CLASSES)


def test_a_mask_in_colours_may_be_saved_with_a_palette(tmp_path: Path) -> None:
    """Programs number the colours as they find them, which says nothing of the classes."""
    root = written(folder_of_colors, tmp_path / "data", SCENES)
    for path in (root / "masks").iterdir():
        Image.open(path).convert("P", palette=Image.Palette.ADAPTIVE, colors=8).save(path)
    for sample, _, mask in decoded(open_dataset(root)):
        assert (mask == labels(SCENES[sample.id])).all()


@pytest.mark.parametrize("palette", [[0, 0, 0, 1, 1, 1, 2, 2, 2], [200, 30, 30, 30, 160, 40, 9, 9, 9]])
def test_a_palette_that_is_not_of_the_classes_says_nothing(tmp_path: Path, palette: list[int]) -> None:
    image = Image.fromarray(SCENE, mode="P")
    image.putpalette(palette)
    image.save(tmp_path / "mask.png")
    assert (read_mask(tmp_path / "mask.png", CLASSES) == SCENE).all()


def test_a_colour_of_two_classes_tells_neither(tmp_path: Path) -> None:
    image = Image.fromarray(SCENE, mode="P")
    image.putpalette([0, 0, 0, 9, 0, 0, 9, 0, 0])
    image.save(tmp_path / "mask.png")
    alike = [SegmentationClass(f"c{value}", value, color) for value, color in enumerate([(0, 0, 0), (9, 0, 0), (9, 0, 0)])]
    assert (read_mask(tmp_path / "mask.png", alike) == SCENE).all()


def test_a_palette_may_stop_where_its_values_do(tmp_path: Path) -> None:
    for name, mask, palette in (
        ("one", np.minimum(SCENE, 1), [0, 0, 0, 9, 0, 0]),
        ("two", SCENE, [0, 0, 0, 9, 0, 0, 0, 9, 0, 7, 7, 7]),
    ):
        picture(tmp_path / "images" / f"{name}.png")
        image = Image.fromarray(mask, mode="P")
        image.putpalette(palette)
        (tmp_path / "masks").mkdir(exist_ok=True)
        image.save(tmp_path / "masks" / f"{name}.png")
    assert [one.color for one in open_dataset(tmp_path).classes] == [(0, 0, 0), (9, 0, 0), (0, 9, 0)]


def test_palettes_that_name_the_classes_must_agree(tmp_path: Path) -> None:
    for name, color in (("one", (200, 0, 0)), ("two", (0, 200, 0))):
        picture(tmp_path / "images" / f"{name}.png")
        image = Image.fromarray(SCENE, mode="P")
        image.putpalette([0, 0, 0, *color, 9, 9, 9])
        (tmp_path / "masks").mkdir(exist_ok=True)
        image.save(tmp_path / "masks" / f"{name}.png")
    with pytest.raises(
        DatasetError, match=r"two.png: its palette has another colour for 1 than that of .*one.png; write label_col"
    ):
        open_dataset(tmp_path)


def test_a_mask_that_blurs_or_has_pages_is_named(tmp_path: Path) -> None:
    image, path = Image.fromarray(SCENE, mode="L"), tmp_path / "mask"
    image.save(path, format="TIFF", compression="jpeg")
    with pytest.raises(DatasetError, match="mask is a JPEG, which blurs labels"):
        read_mask(path, CLASSES)
    image.convert("RGB").save(path, format="WEBP", quality=80)
    with pytest.raises(DatasetError, match="mask is a WebP that blurs labels; export it as PNG, or as lossless WebP"):
        read_mask(path, CLASSES)
    image.convert("RGB").save(path, format="WEBP", lossless=True)
    assert (read_mask(path, CLASSES) == SCENE).all()
    image.save(path, format="TIFF", save_all=True, append_images=[image, image])
    with pytest.raises(DatasetError, match="mask has 3 pages; export one, as PNG"):
        read_mask(path, CLASSES)
    with pytest.raises(DatasetError, match="mask has 3 pages; export one, as PNG"):
        read_layer(path)


def test_walls_between_rooms_are_no_sign_of_scaling(tmp_path: Path) -> None:
    plan = np.full((60, 90), 3, np.uint8)  # walls, and rooms of lower and higher ids beside each other
    for row in range(3):
        for column in range(6):
            plan[row * 20 + 1 : row * 20 + 20, column * 15 + 1 : column * 15 + 15] = (1, 4, 2, 5, 1, 6)[(column + 2 * row) % 6]
    Image.fromarray(plan).save(tmp_path / "plan.png")
    classes = [SegmentationClass(f"c{value}", value, (value, 0, 0)) for value in range(7)]
    assert (read_mask(tmp_path / "plan.png", classes) == plan).all()


def test_links_out_of_the_folder_and_linked_folders_are_named_and_not_followed(tmp_path: Path) -> None:
    root, elsewhere = written(folder, tmp_path / "data", SCENES), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / "images" / "one.png").rename(elsewhere / "one.png")
    (root / "images" / "one.png").symlink_to(elsewhere / "one.png")
    (root / "images" / "more").symlink_to(elsewhere)
    dataset = open_dataset(root, tolerant=True)
    assert [sample.id for sample in dataset.samples] == ["three", "two"]
    assert len(dataset.problems) == 2
    assert f"{root / 'images' / 'more'}: is a link to a folder; put the folder there" in dataset.problems
    assert any(f"{root / 'images' / 'one.png'}: leads out of the folder, to {elsewhere}" in one for one in dataset.problems)


def test_a_split_of_yolo_without_texts_is_no_background(tmp_path: Path) -> None:
    root = written(yolo_seg, tmp_path / "data", SCENES)
    picture(root / "images" / "test" / "four.png")
    dataset = open_dataset(root, tolerant=True)
    assert sorted(sample.id for sample in dataset.samples) == ["one", "three", "two"]
    [problem] = dataset.problems
    assert "none of its pictures has a text in" in problem and "images/test" in problem


def test_shapes_of_cvat_that_cover_nothing_are_named(tmp_path: Path) -> None:
    root = written(cvat, tmp_path / "data", SCENES)
    path = root / "annotations.xml"
    text = path.read_text()
    end = text.index("</image>")
    path.write_text(f'{text[:end]}<polyline label="tree" points="0,0;9,9" z_order="0" />{text[end:]}')
    dataset = open_dataset(root, tolerant=True)
    assert len(dataset.samples) == len(SCENES) - 1
    [problem] = dataset.problems
    assert "has a polyline, which covers no pixels; draw it as a polygon or a mask" in problem
    path.write_text(text.replace("</annotations>", '<track id="0" label="tree"></track></annotations>'))
    with pytest.raises(DatasetError, match="annotations.xml: is of a video; export it as `CVAT for images 1.1`"):
        open_dataset(root)


@pytest.mark.parametrize("compression", ["lzw", "zlib", "packbits"])
def test_many_channels_compressed_as_others_do_are_read(tmp_path: Path, compression: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**16, (6, 8, 5), np.uint16)
    tifffile.imwrite(tmp_path / "one.tif", pixels, compression=compression, photometric="minisblack")
    assert np.array_equal(read_image(tmp_path / "one.tif", ImageKind(5, 16)), pixels)
