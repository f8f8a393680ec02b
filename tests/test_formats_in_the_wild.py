"""Datasets as people and their tools leave them: what used to be read wrongly, or not at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as run_lengths

from segmodels.annotations import Region
from segmodels.dataset import open_dataset, within
from segmodels.errors import DatasetError
from tests.conftest import decoded, examined
from tests.test_every_format import HEIGHT, SCENES, WIDTH, coco, cvat_in_masks, folder, labelme, labels, picture, values, yolo_seg


def wrong(root: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        examined(open_dataset(root))
    return str(caught.value)


def masks(root: Path) -> dict[str, np.ndarray]:
    return {sample.id: labelling for sample, _, labelling in decoded(open_dataset(root))}


def change(path: Path, edit: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("counts", [[5, 10], "", run_lengths.encode(np.asfortranarray(np.ones((2, 2), np.uint8)))["counts"]])
def test_run_lengths_that_end_early_are_no_region(counts: Any) -> None:
    with pytest.raises(ValueError, match=f"its runs are of .* pixels, the image of {HEIGHT * WIDTH}"):
        Region("x", runs={"counts": counts, "size": [HEIGHT, WIDTH]}).drawn((HEIGHT, WIDTH), (1, 1))


def test_run_lengths_packed_by_pycocotools_are_unpacked() -> None:
    for seed in range(20):
        drawn = np.random.default_rng(seed).random((37, 53)) < seed / 20
        packed: Any = run_lengths.encode(np.asfortranarray(drawn.astype(np.uint8)))
        assert (Region("x", runs=packed).drawn((37, 53), (1, 1)) == drawn).all()


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_a_mask_of_one_bit_holds_the_classes_0_and_1(tmp_path: Path, suffix: str) -> None:
    folder(tmp_path, {"one": SCENES["one"]})
    drawn = labels(SCENES["one"]) == 1
    (tmp_path / "masks" / "one.png").unlink()
    Image.fromarray(drawn).save(tmp_path / "masks" / f"one.{suffix}")
    assert (masks(tmp_path)["one"] == drawn).all()


@pytest.mark.parametrize("bits", [2, 4])
def test_a_gray_mask_of_few_bits_holds_its_values(tmp_path: Path, bits: int) -> None:
    folder(tmp_path, {"one": SCENES["one"]})
    drawn = labels(SCENES["one"])
    gray_of_few_bits(tmp_path / "masks" / "one.png", drawn, bits)
    assert (masks(tmp_path)["one"] == drawn).all()


def gray_of_few_bits(path: Path, drawn: np.ndarray, bits: int) -> None:
    """A PNG as Pillow writes none: gray, with some bits a pixel."""
    import struct
    import zlib

    per_byte = 8 // bits
    shifted = (drawn.reshape(len(drawn), -1, per_byte) << (np.arange(per_byte)[::-1] * bits).astype(np.uint8)).sum(axis=-1)
    rows = b"".join(b"\0" + bytes(row.astype(np.uint8)) for row in shifted)
    header = struct.pack(">IIBBBBB", drawn.shape[1], len(drawn), bits, 0, 0, 0, 0)
    packed = b"\x89PNG\r\n\x1a\n"
    for name, content in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        packed += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    path.write_bytes(packed)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_turned_as_its_image_is(tmp_path: Path, orientation: int) -> None:
    folder(tmp_path, {"one": SCENES["one"]})
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("images", "masks"):
        path = tmp_path / kind / "one.png"
        with Image.open(path) as image:
            image.save(path, exif=exif)
    mask = labels(SCENES["one"])
    turned = {
        1: mask,
        2: mask[:, ::-1],
        3: mask[::-1, ::-1],
        4: mask[::-1],
        5: mask.T,
        6: mask[::-1].T,
        7: mask[::-1, ::-1].T,
        8: mask.T[::-1],
    }[orientation]
    assert (masks(tmp_path)["one"] == turned).all()


@pytest.mark.parametrize("edit", [str, float])
def test_coco_ids_are_the_same_as_numbers_and_as_texts(tmp_path: Path, edit: Callable[[int], Any]) -> None:
    coco(tmp_path, SCENES)
    expected = masks(tmp_path)

    def as_other(content: Any) -> None:
        for one in content["annotations"]:
            one["image_id"] = edit(one["image_id"])

    change(tmp_path / "annotations" / "instances_default.json", as_other)
    found = masks(tmp_path)
    assert all((found[name] == expected[name]).all() for name in expected)


def test_every_json_of_a_coco_dataset_is_read(tmp_path: Path) -> None:
    coco(tmp_path, SCENES)
    path = tmp_path / "annotations" / "instances_default.json"
    content = json.loads(path.read_text())
    first, *others = content["images"]
    for name, images in (("train.json", others), ("instances_val.json", [first])):
        known = {one["id"] for one in images}
        annotations = [one for one in content["annotations"] if one["image_id"] in known]
        (path.parent / name).write_text(json.dumps(content | {"images": images, "annotations": annotations}))
    path.unlink()
    assert {one.id: one.split for one in open_dataset(tmp_path).samples} == {
        Path(first["file_name"]).stem: "val",
        **{Path(one["file_name"]).stem: "train" for one in others},
    }


@pytest.mark.parametrize(("one", "other"), [("car", "car"), ("car", "car "), ("caf\u00e9", "cafe\u0301")])
def test_classes_that_people_take_for_one_are_refused(tmp_path: Path, one: str, other: str) -> None:
    yolo_seg(tmp_path, SCENES)
    (tmp_path / "data.yaml").write_text(json.dumps({"names": [one, other]}))
    assert "have the same name" in wrong(tmp_path)


def test_letter_case_tells_classes_apart(tmp_path: Path) -> None:
    yolo_seg(tmp_path, SCENES)
    (tmp_path / "data.yaml").write_text(json.dumps({"names": ["a", "A"]}))
    assert [one.name for one in open_dataset(tmp_path).classes] == ["background", "a", "A"]


def test_coco_categories_of_one_name_are_one_class(tmp_path: Path) -> None:
    coco(tmp_path, SCENES)
    expected = masks(tmp_path)
    change(
        tmp_path / "annotations" / "instances_default.json",
        lambda content: content["categories"].insert(0, content["categories"][0] | {"id": 1000}),
    )
    found = masks(tmp_path)
    assert all((found[name] == expected[name]).all() for name in expected)


def test_other_words_of_the_same_images_are_not_read_beside_instances(tmp_path: Path) -> None:
    coco(tmp_path, SCENES)
    path = tmp_path / "annotations" / "instances_default.json"
    path.with_name("person_keypoints_default.json").write_bytes(path.read_bytes())
    assert len(masks(tmp_path)) == len(SCENES)


def test_a_class_without_a_name_is_refused(tmp_path: Path) -> None:
    yolo_seg(tmp_path, SCENES)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("house\n\ntree\n")
    assert "have one without a name" in wrong(tmp_path)


def test_labelmes_converter_names_the_classes_of_its_voc(tmp_path: Path) -> None:
    picture(tmp_path / "JPEGImages" / "a.png")
    values(tmp_path / "SegmentationClass" / "a.png", labels(SCENES["one"]))
    (tmp_path / "class_names.txt").write_text("__ignore__\n_background_\ntumour\nvessel\n")
    dataset = open_dataset(tmp_path)
    assert [(one.name, one.value) for one in dataset.classes] == [
        ("_background_", 0),
        ("tumour", 1),
        ("vessel", 2),
        ("void", 255),
    ]
    assert (masks(tmp_path)["a"] == labels(SCENES["one"])).all()


@pytest.mark.unhurried
def test_run_lengths_of_cvat_take_no_memory_before_they_are_drawn(tmp_path: Path) -> None:
    cvat_in_masks(tmp_path, SCENES)
    bombs = f'<mask label="tree" top="0" left="0" width="7000" height="7000" rle="0, {7000 * 7000}" />' * 50
    path = tmp_path / "annotations.xml"
    text = path.read_text().replace(f'width="{WIDTH}" height="{HEIGHT}"', 'width="7000" height="7000"')
    path.write_text(text.replace("</image>", f"{bombs}</image>"))
    assert "was drawn on an image of 7000 x 7000" in wrong(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 100_000, "is not JSON"),
        ('{"classes": [{"id": ' + "1" * 5000 + ', "name": "x"}]}', "is not JSON"),
        ('{"classes": [{"id": 0, "name": "x", "color": [300, -1, 0]}, {"id": 1, "name": "y"}]}', "less than or equal to 255"),
    ],
)
def test_a_classes_json_that_makes_no_sense_is_refused(tmp_path: Path, content: str, said: str) -> None:
    folder(tmp_path, SCENES)
    (tmp_path / "classes.json").write_text(content)
    assert said in wrong(tmp_path)


def test_a_classes_json_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    folder(tmp_path, SCENES)
    path = tmp_path / "classes.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(decoded(open_dataset(tmp_path))) == len(SCENES)


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_format_that_nobody_named_is_not_decoded_whatever_its_suffix(tmp_path: Path, kind: str) -> None:
    folder(tmp_path, {"one": SCENES["one"]})
    with Image.open(tmp_path / kind / "one.png") as image:
        image.convert("P").save(tmp_path / kind / "one.png", format="GIF")
    assert f"{tmp_path / kind / 'one.png'}: cannot be read as PNG, JPEG" in wrong(tmp_path)


def camvid(root: Path, names: list[str]) -> None:
    for split, name in zip(("train", "val"), names, strict=True):
        picture(root / split / f"{name}.png")
        values(root / f"{split}annot" / f"{name}.png", labels(SCENES["one"]))
        (root / f"{split}.txt").write_text(f"{split}/{name}.png {split}annot/{name}.png\n")
    (root / "classes.json").write_text('{"classes": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}, {"id": 2, "name": "c"}]}')


def test_lists_may_have_one_name_in_two_folders(tmp_path: Path) -> None:
    camvid(tmp_path, ["0001", "0001"])
    assert {one.id: one.split for one in open_dataset(tmp_path).samples} == {"train/0001": "train", "val/0001": "val"}


def test_a_beginning_that_all_names_share_is_no_sequence(tmp_path: Path) -> None:
    camvid(tmp_path, ["img_1", "img_2"])
    assert {one.group for one in open_dataset(tmp_path).samples} == {None}


def test_names_without_a_sequence_are_of_none(tmp_path: Path) -> None:
    for split in ("train", "val"):
        names = [f"000{number}" for number in (1, 2)]
        for name in names:
            picture(tmp_path / split / f"{name}.png")
            values(tmp_path / f"{split}annot" / f"{name}.png", labels(SCENES["one"]))
        (tmp_path / f"{split}.txt").write_text("".join(f"{split}/{name}.png {split}annot/{name}.png\n" for name in names))
    (tmp_path / "classes.json").write_text(
        '{"classes": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}, {"id": 2, "name": "c"}]}'
    )
    assert {one.group for one in open_dataset(tmp_path).samples} == {None}


def test_what_systems_leave_hidden_is_no_part_of_a_dataset(tmp_path: Path) -> None:
    for name, write in (("yolo", yolo_seg), ("labelme", labelme), ("folder", folder)):
        root = tmp_path / name
        write(root, SCENES)
        for path in [one for one in root.rglob("*") if one.is_file()]:
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7")
            (path.parent / ".ipynb_checkpoints").mkdir(exist_ok=True)
            (path.parent / ".ipynb_checkpoints" / path.name).write_bytes(path.read_bytes())
        assert len(decoded(open_dataset(root))) == len(SCENES)


def test_accents_may_be_written_in_two_forms(tmp_path: Path) -> None:
    folder(tmp_path, {"one": SCENES["one"]})
    (tmp_path / "images" / "one.png").rename(tmp_path / "images" / "cafe\u0301.png")
    (tmp_path / "masks" / "one.png").rename(tmp_path / "masks" / "caf\u00e9.png")
    assert len(decoded(open_dataset(tmp_path))) == 1


@pytest.mark.parametrize(("pictures", "labelled"), [("images", "masks"), ("Images", "Masks"), ("img_dir", "ann_dir")])
@pytest.mark.parametrize("above", [True, False])
def test_folders_of_splits_are_the_splits(tmp_path: Path, pictures: str, labelled: str, above: bool) -> None:
    for name, split in (("one", "train"), ("two", "val"), ("three", "test")):
        for kind in (pictures, labelled):
            where = tmp_path / split / kind if above else tmp_path / kind / split
            if kind == pictures:
                picture(where / f"{name}.png")
            else:
                values(where / f"{name}.png", labels(SCENES[name]))
    (tmp_path / "classes.json").write_text(
        '{"classes": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}, {"id": 2, "name": "c"}]}'
    )
    dataset = open_dataset(tmp_path)
    assert dataset.format == "folder"
    assert {one.id: one.split for one in dataset.samples} == {"train/one": "train", "val/two": "val", "test/three": "test"}
    for name, mask in masks(tmp_path).items():
        assert (mask == labels(SCENES[name.split("/")[1]])).all()


def test_a_mask_that_is_missing_in_a_split_is_named(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        picture(tmp_path / "train" / "images" / f"{name}.png")
        values(tmp_path / "train" / "masks" / f"{name}.png", labels(SCENES[name]))
    (tmp_path / "train" / "masks" / "two.png").unlink()
    (tmp_path / "classes.json").write_text(
        '{"classes": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}, {"id": 2, "name": "c"}]}'
    )
    assert f"two.png: has no mask; expected {tmp_path / 'train' / 'masks' / 'two'}.png" in wrong(tmp_path)


def test_the_lists_of_yolos_yaml_are_the_splits(tmp_path: Path) -> None:
    yolo_seg(tmp_path, SCENES)
    for kind in ("images", "labels"):
        for path in (tmp_path / kind / "train").iterdir():
            path.rename(tmp_path / kind / path.name)
        (tmp_path / kind / "train").rmdir()
    (tmp_path / "train.txt").write_text("./images/one.png\n")
    (tmp_path / "val.txt").write_text("/home/somebody/data/images/two.png\nimages/three.png\n")
    (tmp_path / "data.yaml").write_text("path: ../data\ntrain: train.txt\nval: ../val.txt\nnames: [house, tree]\n")
    dataset = open_dataset(tmp_path)
    assert {one.id: one.split for one in dataset.samples} == {"one": "train", "two": "val", "three": "val"}
    assert {path.name for path in dataset.notes} == {"data.yaml", "train.txt", "val.txt"}
    (tmp_path / "val.txt").write_text("images/one.png\nimages/two.png\n")
    assert "val.txt:1: images/one.png is in train already; list it once" in wrong(tmp_path)


def test_the_nearest_folder_of_yolos_yaml_counts(tmp_path: Path) -> None:
    yolo_seg(tmp_path, SCENES)
    for kind in ("images", "labels"):
        (tmp_path / kind / "train").rename(tmp_path / kind / "deep")
    long = "x" * 5000
    (tmp_path / "data.yaml").write_text(f"train: images\nval: images/deep\ntest: {long}\nnames: [house, tree]\n")
    assert {one.split for one in open_dataset(tmp_path).samples} == {"val"}


def test_splits_whose_images_have_no_masks_are_named_but_for_test(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        picture(tmp_path / split / "images" / f"{split}.png")
    values(tmp_path / "train" / "masks" / "train.png", labels(SCENES["one"]))
    (tmp_path / "classes.json").write_text(
        '{"classes": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}, {"id": 2, "name": "c"}]}'
    )
    with pytest.raises(DatasetError) as caught:
        open_dataset(tmp_path)
    assert len(caught.value.problems) == 1 and "val.png: has no mask" in caught.value.problems[0]


def test_damage_to_the_notes_of_a_mask_is_none_to_its_pixels(tmp_path: Path) -> None:
    folder(tmp_path, {"one": SCENES["one"]})
    path = tmp_path / "masks" / "one.png"
    with Image.open(path) as image:
        image.save(path, exif=b"Exif\0\0no exif at all")
    assert (masks(tmp_path)["one"] == labels(SCENES["one"])).all()


def test_a_mask_that_a_program_made_small_holds_what_it_held(tmp_path: Path) -> None:
    folder(tmp_path, {"one": SCENES["one"]})
    drawn = labels(SCENES["one"])
    gray_of_few_bits(tmp_path / "masks" / "one.png", np.where(drawn > 0, 3, 0).astype(np.uint8), 2)  # 255 of 8 bits: void
    assert (masks(tmp_path)["one"] == np.where(drawn > 0, 255, 0)).all()


def test_a_problem_is_told_of_the_file_that_has_it() -> None:
    told = "data/images/data/one.png: has no mask; expected data/masks/data/one.png"
    assert within(Path("data"), told) == "images/data/one.png: has no mask; expected masks/data/one.png"


@pytest.mark.parametrize("write", [labelme, coco])
def test_pictures_that_nobody_has_labelled_yet_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, Any], None]
) -> None:
    write(tmp_path, SCENES)
    for name in ("new.png", "later/NEW.JPG", ".hidden.png", ".cache/x.png"):
        picture(tmp_path / name)
    assert open_dataset(tmp_path).unread() == [tmp_path / "later/NEW.JPG", tmp_path / "new.png"]
    monkeypatch.chdir(tmp_path)
    assert open_dataset(Path()).unread() == [Path("later/NEW.JPG"), Path("new.png")]


def test_of_a_picture_with_a_fault_only_that_is_told(tmp_path: Path) -> None:
    folder(tmp_path, SCENES)
    next((tmp_path / "masks").iterdir()).unlink()
    dataset = open_dataset(tmp_path, tolerant=True)
    assert len(dataset.problems) == 1
    assert dataset.unread() == []


def test_a_dataset_one_folder_deeper_is_pointed_at(tmp_path: Path) -> None:
    folder(tmp_path / "export", SCENES)
    (tmp_path / "a").mkdir()
    (tmp_path / "export" / "readme.md").write_text("")
    with pytest.raises(DatasetError, match=r"is no dataset, but export in it is one \(`folder`\); bring that folder in$"):
        open_dataset(tmp_path)
