"""What single formats have of their own, on small files as their tools write them, and on real ones where the machine has them."""

import base64
import io
import json
import re
import socket
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as run_lengths

from segmodels import bounds, catalog
from segmodels.annotations import Region
from segmodels.dataset import detect, open_dataset
from segmodels.errors import DatasetError
from segmodels.images import read_image
from segmodels.ingest import ingest
from segmodels.ledger import Ledger
from segmodels.samples import IGNORE_INDEX
from tests.conftest import decoded, examined
from tests.test_every_format import (
    HEIGHT,
    SCENES,
    WIDTH,
    coco,
    coco_panoptic,
    cvat,
    folder,
    labelme,
    labels,
    picture,
    values,
    voc,
    yolo_seg,
)


def wrong(root: Path, **keywords: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        examined(open_dataset(root, **keywords))
    return str(caught.value)


def test_voc_in_its_own_palette_and_lists(tmp_path: Path) -> None:
    base = tmp_path / "VOCdevkit" / "VOC2012"
    mask = np.zeros((4, 6), np.uint8)
    mask[1:3, 1:3], mask[0], mask[3] = 15, 255, 20
    for name in ("2007_a", "2008_b", "2009_c", "2010_unlisted"):
        picture(base / "JPEGImages" / f"{name}.jpg")
        Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(base / "JPEGImages" / f"{name}.jpg")
        values(base / "SegmentationClass" / f"{name}.png", mask)
    lists = base / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for name, lines in {
        "train": ["2007_a"],
        "val": ["2008_b"],
        "trainval": ["2007_a", "2008_b", "2009_c"],
        "test": ["x"],
    }.items():
        (lists / f"{name}.txt").write_text("\n".join(lines))
    dataset = open_dataset(tmp_path)
    assert {one.id: one.split for one in dataset.samples} == {"2007_a": "train", "2008_b": "val", "2009_c": None}
    by_value = {one.value: (one.name, one.color) for one in dataset.classes}
    # from the development kit: person is (192, 128, 128), tvmonitor (0, 64, 128)
    assert (by_value[15], by_value[20]) == (("person", (192, 128, 128)), ("tvmonitor", (0, 64, 128)))
    [first, *_] = decoded(dataset)
    assert first[2].tolist() == mask.tolist()


def test_cityscapes_learns_the_classes_of_its_benchmark(tmp_path: Path) -> None:
    mask = np.array([[7, 26, 26, 26], [0, 3, 24, 24]], np.uint8)
    objects = np.array([[7, 26000, 26001, 26], [0, 3, 24000, 24000]], np.uint16)
    for split, city in (("train", "aachen"), ("val", "munster"), ("test", "berlin")):
        name = f"{city}_000000_000019"
        (tmp_path / "leftImg8bit" / split / city).mkdir(parents=True)
        Image.new("RGB", (4, 2)).save(tmp_path / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
        values(tmp_path / "gtFine" / split / city / f"{name}_gtFine_labelIds.png", mask)
        values(tmp_path / "gtFine" / split / city / f"{name}_gtFine_instanceIds.png", objects)
    dataset = open_dataset(tmp_path)
    assert dataset.format == "cityscapes"
    assert [(one.split, one.group) for one in dataset.samples] == [("train", "aachen"), ("val", "munster")]
    (sample, _, found), _ = decoded(dataset)
    # road is the first of the 19, car the 14th, person the 12th; the crowd of cars is a car
    assert found.tolist() == [[0, 13, 13, 13], [IGNORE_INDEX, IGNORE_INDEX, 11, 11]]
    numbers = sample.instances((2, 4))
    assert numbers is not None and numbers.tolist() == [[0, 2, 3, 0], [0, 0, 1, 1]]


def test_cityscapes_with_train_ids(tmp_path: Path) -> None:
    (tmp_path / "leftImg8bit" / "train" / "ulm").mkdir(parents=True)
    Image.new("RGB", (3, 1)).save(tmp_path / "leftImg8bit" / "train" / "ulm" / "ulm_1_2_leftImg8bit.png")
    ids = np.array([[18, 0, 255]], np.uint8)
    values(tmp_path / "gtFine" / "train" / "ulm" / "ulm_1_2_gtFine_labelTrainIds.png", ids)
    dataset = open_dataset(tmp_path)
    assert (dataset.classes[18].name, len(dataset.classes)) == ("bicycle", 19)
    [(_, _, found)] = decoded(dataset)
    assert found.tolist() == ids.tolist()


def test_ade20k_has_nothing_at_0(tmp_path: Path) -> None:
    for kind in ("training", "validation"):
        (tmp_path / "images" / kind).mkdir(parents=True)
        Image.new("RGB", (3, 1)).save(tmp_path / "images" / kind / f"ADE_{kind}.jpg")
        values(tmp_path / "annotations" / kind / f"ADE_{kind}.png", np.array([[0, 1, 2]], np.uint8))
    rows = [
        "Idx\tRatio\tTrain\tVal\tStuff\tName",
        "1\t0.1576\t11664\t1172\t1\twall",
        "2\t0.1072\t6046\t612\t1\tbuilding, edifice",
    ]
    (tmp_path / "objectInfo150.txt").write_text("\n".join(rows))
    dataset = open_dataset(tmp_path)
    assert (dataset.format, [one.name for one in dataset.classes]) == ("ade20k", ["other", "wall", "building"])
    assert [one.split for one in dataset.samples] == ["train", "val"]
    assert all(found.tolist() == [[IGNORE_INDEX, 0, 1]] for _, _, found in decoded(dataset))


def test_the_real_nuclei(real_data: Path) -> None:
    dataset = open_dataset(real_data / "dsb2018-small")
    assert (dataset.format, len(dataset.samples), [one.name for one in dataset.classes]) == (
        "instance_masks",
        48,
        ["background", "object"],
    )
    for sample, _, mask in decoded(replace(dataset, samples=dataset.samples[:8])):
        covered = np.zeros(mask.shape, bool)
        for path in (sample.image_path.parent.parent / "masks").iterdir():
            covered |= np.asarray(Image.open(path).convert("L")) > 0
        assert ((mask == 1) == covered).all()
        objects = sample.instances(mask.shape)
        assert objects is not None and objects.max() == len(list((sample.image_path.parent.parent / "masks").iterdir()))


def test_the_real_panoptic_pictures_are_what_their_run_lengths_say(real_data: Path) -> None:
    """The sample has both forms of the same segments: colours, and run lengths, which pycocotools reads."""
    root = real_data / "panopticapi-sample"
    colored, run_lengths = (open_dataset(root, format=name) for name in ("coco_panoptic", "coco"))
    assert (len(colored.samples), len(colored.classes), len(run_lengths.classes)) == (2, 133, 134)
    entries = json.loads((root / "sample_data" / "panoptic_examples.json").read_text())
    things = {one["id"] for one in entries["categories"] if one["isthing"]}
    for (sample, _, mask), (other, _, drawn), annotation in zip(
        decoded(colored), decoded(run_lengths), entries["annotations"], strict=True
    ):
        assert sample.id == other.id == annotation["file_name"].removesuffix(".png")
        known = mask != IGNORE_INDEX
        assert 0.8 < known.mean() < 1
        assert (mask[known] + 1 == drawn[known]).all()  # there the background comes first
        assert not drawn[~known].any()
        areas = Counter[int]()
        for segment in annotation["segments_info"]:
            areas[segment["category_id"]] += segment["area"]
        order = sorted(one["id"] for one in entries["categories"])
        assert {order[index]: int((mask == index).sum()) for index in np.unique(mask[known]).tolist()} == dict(areas)
        objects = sample.instances(mask.shape)
        told_apart = [one for one in annotation["segments_info"] if one["category_id"] in things and not one["iscrowd"]]
        assert objects is not None
        assert sorted(np.bincount(objects.reshape(-1))[1:].tolist()) == sorted(one["area"] for one in told_apart)


def change(path: Path, edit: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_all_that_is_wrong_with_a_coco_file_is_listed(tmp_path: Path) -> None:
    coco(tmp_path, SCENES)
    path = tmp_path / "annotations" / "instances_default.json"

    def spoil(content: Any) -> None:
        first, second, third, *_ = content["annotations"]
        first["category_id"] = 99
        second["segmentation"] = [[1, 2, 3, 4]]
        third["segmentation"] = []
        content["images"][1]["file_name"] = "../../secret.png"
        content["images"][2]["file_name"] = "gone.png"

    change(path, spoil)
    said = wrong(tmp_path)
    assert "5 files or entries cannot be used" in said
    assert "annotations[0]: there is no category 99" in said
    assert "annotations[1]: a polygon has 2 corners; expected three or more" in said
    assert "annotations[2]: has a box and no segmentation" in said
    assert "image 8: '../../secret.png' leads out of the dataset's folder" in said
    assert "image 9: there is no picture 'gone.png'" in said


@pytest.mark.unhurried
def test_what_was_drawn_on_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    coco(tmp_path, SCENES)
    Image.new("RGB", (WIDTH // 2, HEIGHT // 2)).save(tmp_path / "images" / "two.png")
    said = wrong(tmp_path)
    assert "image 8: was drawn on an image of 40 x 24 (width x height), which is 20 x 12 (width x height) now" in said


def test_yolo_boxes_and_numbers_of_pixels_are_named(tmp_path: Path) -> None:
    yolo_seg(tmp_path, SCENES)
    text = tmp_path / "labels" / "train" / "one.txt"
    text.write_text("0 0.5 0.5 0.2 0.2\n9 0 0 1 0 1 1\n0 0 0 100 0 100 80\n0 0.1 0.2 0.3 0.4 0.5\nhouse 0 0 1 0 1 1\n")
    said = wrong(tmp_path)
    assert "one.txt:1: is a box, not a polygon" in said
    assert "one.txt:2: there is no class 9; the classes are 0 to 1" in said
    assert "one.txt:3: 0 to 100 are no shares of width and height" in said
    assert "one.txt:4: has 5 numbers after the class" in said
    assert "one.txt:5: 'house 0 0 1 0 1 1'; expected a class and numbers" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("names: !!python/object/apply:os.system ['touch harmed']", "is not YAML"),
        ("nc: 2", "names is None; expected a list"),
        ("names: {1: a, 2: b}", "expected a list of the classes' names, or 0, 1, 2"),
        ("names: [" + "a, " * 400_000 + "]", "is larger than 1,000,000 bytes"),
    ],
)
def test_a_data_yaml_that_names_no_classes_is_refused(tmp_path: Path, text: str, said: str) -> None:
    yolo_seg(tmp_path, SCENES)
    (tmp_path / "data.yaml").write_text(text)
    assert said in wrong(tmp_path, format="yolo_seg")
    assert not Path("harmed").exists()


def test_labelmes_groups_are_one_object_and_its_ignore_is_void(tmp_path: Path) -> None:
    labelme(tmp_path, SCENES)

    def group(content: Any) -> None:
        content["shapes"][0]["group_id"] = 3
        content["shapes"].insert(1, {**content["shapes"][0], "points": [[0, 0], [3, 0], [3, 3], [0, 3]]})
        content["shapes"].append({"label": "__ignore__", "points": [[0, 20], [4, 20], [4, 24], [0, 24]]})

    change(tmp_path / "one.json", group)
    dataset = open_dataset(tmp_path)
    [first] = [one for one in decoded(dataset) if one[0].id == "one"]
    assert (first[2][20:, :4] == IGNORE_INDEX).all()
    objects = first[0].instances((HEIGHT, WIDTH))
    assert objects is not None
    assert objects[0, 0] == objects[10, 10] != objects[2, 25]


def test_a_labelme_circle_is_round(tmp_path: Path) -> None:
    labelme(tmp_path, {"one": []})
    change(
        tmp_path / "one.json",
        lambda content: content["shapes"].append({"label": "sun", "shape_type": "circle", "points": [[20, 12], [28, 12]]}),
    )
    [(_, _, mask)] = decoded(open_dataset(tmp_path))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    distance = np.hypot(rows - 12, columns - 20)
    assert (mask[distance < 7.2] == 1).all() and (mask[distance > 8.8] == 0).all()


def test_a_labelme_line_is_no_region(tmp_path: Path) -> None:
    labelme(tmp_path, SCENES)
    change(tmp_path / "one.json", lambda content: content["shapes"][0].update(shape_type="linestrip"))
    assert "one.json: shapes.0.shape_type: Input should be 'polygon'" in wrong(tmp_path)


def test_cvats_xml_declares_nothing(tmp_path: Path) -> None:
    cvat(tmp_path, SCENES)
    path = tmp_path / "annotations.xml"
    path.write_text(path.read_text().replace("<annotations>", '<!DOCTYPE a [<!ENTITY b "c">]><annotations>'))
    assert "declares entities" in wrong(tmp_path)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ('<polygon label="tree" points="1,2;3" />', "image 'one.png': the points of a polygon 'tree' are no pairs"),
        ('<polygon label="tree" points="1,2;3,4" />', "a polygon 'tree' has 2 corners"),
        ('<box label="tree" xtl="1" ytl="2" xbr="3" />', "a box 'tree' has no ybr"),
        ('<mask label="tree" top="1" left="1" width="4" height="2" rle="0, 5" />', "cover 5 pixels, expected 4 x 2"),
        (
            '<mask label="tree" top="22" left="1" width="4" height="4" rle="0, 16" />',
            "a box of 4 x 4 at column 1, row 22 reaches beyond",
        ),
    ],
)
def test_a_shape_of_cvat_that_makes_no_region_is_named(tmp_path: Path, shape: str, said: str) -> None:
    cvat(tmp_path, SCENES)
    path = tmp_path / "annotations.xml"
    path.write_text(re.sub(r"<polygon", f"{shape}<polygon", path.read_text(), count=1))
    assert said in wrong(tmp_path)


def test_a_folder_that_two_formats_fit_says_what_each_saw(tmp_path: Path) -> None:
    folder(tmp_path, SCENES)
    voc(tmp_path / "other", SCENES)
    (tmp_path / "other" / "SegmentationClass").rename(tmp_path / "SegmentationClass")
    with pytest.raises(
        DatasetError, match=r"`folder` fits as it has images/ and masks/; `voc` fits as it has SegmentationClass/; name it"
    ):
        detect(tmp_path)


@pytest.mark.unhurried
def test_masks_of_one_scene_in_colours_that_no_class_has_are_named(tmp_path: Path) -> None:
    voc(tmp_path, SCENES)
    values(tmp_path / "SegmentationClass" / "one.png", np.full((HEIGHT, WIDTH, 3), 7, np.uint8))
    assert "one.png: mask holds the colours #070707" in wrong(tmp_path)
    assert labels([]).shape == (HEIGHT, WIDTH)


def left(root: Path, **keywords: Any) -> tuple[list[str], list[str]]:
    """The samples that can be used all the same, and what is wrong with the rest."""
    dataset = open_dataset(root, tolerant=True, **keywords)
    return [sample.id for sample in dataset.samples], dataset.problems


def test_a_picture_that_is_listed_twice_is_named(tmp_path: Path) -> None:
    cvat(tmp_path / "cvat", SCENES)
    xml = (tmp_path / "cvat" / "annotations.xml").read_text()
    (tmp_path / "cvat" / "more.xml").write_text(xml.replace("tree", "house"))
    labelme(tmp_path / "labelme", SCENES)
    (tmp_path / "labelme" / "one_old.json").write_text((tmp_path / "labelme" / "one.json").read_text().replace("tree", "house"))
    coco_panoptic(tmp_path / "coco_panoptic", SCENES)
    change(
        tmp_path / "coco_panoptic" / "panoptic.json",
        lambda content: content["annotations"].append({**content["annotations"][1], "image_id": 7}),
    )
    for name, again, first in (
        ("cvat", "more.xml", "annotations.xml"),
        ("labelme", "one_old.json", "one.json"),
        ("coco_panoptic", "panoptic.json", "panoptic.json"),
    ):
        root = tmp_path / name
        _, problems = left(root)
        assert any(one.startswith(f"{root / again}: ") for one in problems)
        assert all(one.endswith(f"one.png is listed twice, also in {root / first}") for one in problems if "one.png" in one)
        masks = {sample.id: mask for sample, _, mask in decoded(open_dataset(root, tolerant=True))}
        assert (masks["one"] == labels(SCENES["one"])).all()


def test_an_id_of_two_pictures_is_named_and_takes_neither(tmp_path: Path) -> None:
    for write, name in ((coco, "instances_default.json"), (coco_panoptic, "panoptic.json")):
        root = tmp_path / write.__name__
        write(root, SCENES)
        path = next(root.rglob(name))
        change(path, lambda content: content["images"][1].update(id=content["images"][0]["id"]))
        ids, problems = left(root)
        assert len([one for one in problems if "is of 2 pictures (one.png, two.png)" in one]) == 1
        assert not {"one", "two"} & set(ids)


def moved(root: Path, called: str, *pictures: str) -> tuple[list[Path], list[str]]:
    """The pictures that are found where COCO's JSON calls one so."""
    coco(root, {"one": SCENES["one"]})
    change(root / "annotations" / "instances_default.json", lambda content: content["images"][0].update(file_name=called))
    (root / "images" / "one.png").unlink()
    for inside in pictures:
        picture(root / inside)
    try:
        return [sample.image_path.relative_to(root) for sample in open_dataset(root).samples], []
    except DatasetError as error:
        return [], error.problems


@pytest.mark.parametrize(
    ("called", "pictures", "found"),
    [
        ("train/1.png", ["train/1.png", "val/1.png"], "train/1.png"),
        ("train/1.png", ["val/1.png"], None),
        ("train/1.png", ["a/1.png", "b/1.png"], None),
        ("train/1.png", ["images/1.png"], "images/1.png"),
        ("old/1.png", ["val/1.png"], "val/1.png"),
        ("1.png", ["val/1.png"], "val/1.png"),
    ],
)
def test_a_picture_of_another_split_does_not_stand_in(
    tmp_path: Path, called: str, pictures: list[str], found: str | None
) -> None:
    paths, problems = moved(tmp_path, called, *pictures)
    if found is not None:
        assert paths == [Path(found)]
    else:
        assert not paths
        assert problems[0].endswith(f"image 7: there is no picture {called!r}, but {tmp_path / pictures[0]} has its name")


def cvat_shape(root: Path, shape: str) -> None:
    cvat(root, {"one": []})
    path = root / "annotations.xml"
    path.write_text(re.sub(r"(<image [^>]*?) ?/>", rf"\1>{shape}</image>", path.read_text()))


def test_cvats_rotation_turns_clockwise(tmp_path: Path) -> None:
    # 20 wide and 4 high around (20, 12); a quarter turn makes it 4 wide and 20 high
    cvat_shape(tmp_path / "quarter", '<box label="tree" xtl="10" ytl="10" xbr="30" ybr="14" rotation="90.0" />')
    [(_, _, mask)] = decoded(open_dataset(tmp_path / "quarter"))
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[2:22, 18:22] = 2
    assert mask.tolist() == expected.tolist()
    for kind, attributes in (
        ("box", 'xtl="10" ytl="10" xbr="30" ybr="14"'),
        ("ellipse", 'cx="20" cy="12" rx="10" ry="2"'),
    ):
        cvat_shape(tmp_path / kind, f'<{kind} label="tree" {attributes} rotation="30" />')
        [(_, _, mask)] = decoded(open_dataset(tmp_path / kind))
        # the right end goes down: 8 px along the turned middle line is (20 + 6.9, 12 + 4)
        assert (mask[16, 26], mask[8, 26], mask[8, 13], mask[16, 13]) == (2, 0, 2, 0)


def drawn(ring: list[tuple[float, float]]) -> np.ndarray:
    return Region("a", [np.array(ring, np.float64)]).drawn((100, 100), (1, 1))


def test_what_lies_beyond_the_image_is_cut_off_and_nothing_else(tmp_path: Path) -> None:
    triangle = [(0.0, 0.0), (200.0, 50.0), (0.0, 100.0)]
    [runs] = run_lengths.frPyObjects([[one for corner in triangle for one in corner]], 100, 100)  # type: ignore[arg-type]
    assert (drawn(triangle) == run_lengths.decode(runs)).all()
    # at 50.5 of 200 px, 100 - 100 * 50.5 / 200 = 74.75 of 100 are left
    assert drawn(triangle)[:, 50].sum() == 74
    # half a million px wide: at the right border 50 * 99.5 / 500_000 = 0.01 px are cut off on either side
    assert drawn([(0, 0), (500_000, 50), (0, 100)]).all()
    # its upper side falls from (-1e9, -1e9) to (1e9, 1e9): what lies left of and below the diagonal
    diagonal = drawn([(-1e9, -1e9), (1e9, 1e9), (-1e9, 1e9)])
    assert (diagonal[np.tril_indices(100, -1)]).all() and not diagonal[np.triu_indices(100, 1)].any()
    assert not drawn([(1e6, 1e6), (2e6, 1e6), (2e6, 2e6)]).any()
    assert drawn([(-1e8, -1e8), (1e8, -1e8), (1e8, 1e8), (-1e8, 1e8)]).all()
    for far in (1e300, np.inf, np.nan):
        with pytest.raises(ValueError, match="a corner is no number, or a billion pixels away"):
            drawn([(0, 0), (far, 50), (0, 100)])


def png_without_pixels(width: int, height: int) -> str:
    """In base64, of a size that it claims."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    packed = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks]
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(packed)).decode()


@pytest.mark.unhurried
def test_masks_that_claim_any_size_take_no_memory(tmp_path: Path) -> None:
    many = 100_000
    bomb = f'<mask label="tree" top="0" left="0" width="{many}" height="{many}" rle="{many * many}" />'
    cvat_shape(tmp_path / "cvat", bomb)
    assert "a box of 100000 x 100000 at column 0, row 0 reaches beyond" in wrong(tmp_path / "cvat")
    path = tmp_path / "cvat" / "annotations.xml"
    path.write_text(path.read_text().replace(f'width="{WIDTH}" height="{HEIGHT}"', f'width="{many}" height="{many}"'))
    assert "is said to have 100000 x 100000 pixels, more than 50,000,000" in wrong(tmp_path / "cvat")

    coco(tmp_path / "coco", SCENES)
    runs = run_lengths.encode(np.asfortranarray(np.ones((2, 2), np.uint8)))
    packed = {"counts": bytes(runs["counts"]).decode(), "size": [many, many]}  # type: ignore[arg-type]  # bytes in packed ones
    change(
        tmp_path / "coco" / "annotations" / "instances_default.json",
        lambda content: content["annotations"][0].update(segmentation=packed),
    )
    assert "its size is [100000, 100000], the image's [24, 40], height before width" in wrong(tmp_path / "coco")

    labelme(tmp_path / "labelme", SCENES)
    for side, said in ((20_000, "could be decompression bomb"), (10_000, "10000 x 10000 pixels, more than 50,000,000")):
        shape = {"label": "tree", "shape_type": "mask", "points": [[0, 0], [1, 1]], "mask": png_without_pixels(side, side)}
        content = {"shapes": [shape], "imagePath": "one.png"}
        (tmp_path / "labelme" / "one.json").write_text(json.dumps(content))
        problem = wrong(tmp_path / "labelme")
        assert f"{tmp_path / 'labelme' / 'one.json'}: a 'tree' cannot be drawn (" in problem
        assert said in problem


def test_a_labelme_file_that_was_cut_is_named(tmp_path: Path) -> None:
    labelme(tmp_path, SCENES)
    path = tmp_path / "one.json"
    path.write_text(path.read_text()[:-20])
    ids, [problem] = left(tmp_path)
    assert ids == ["three", "two"]
    assert problem.startswith(f"{path}: ")


def test_what_is_larger_than_believed_is_decoded_when_its_owner_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "_max_pixels", bounds.max_pixels())  # as they were, afterwards
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    path = tmp_path / "large.png"
    path.write_bytes(base64.b64decode(png_without_pixels(20_000, 20_000)))  # more than twice what Pillow takes for no bomb
    bounds.set_max_pixels(400_000_000)
    with pytest.raises(DatasetError, match="truncated"):
        read_image(path)
    bounds.set_max_pixels(399_999_999)
    with pytest.raises(DatasetError, match=r"20000 x 20000 pixels, more than 399,999,999; .* or raise dataset.max_megapixels"):
        read_image(path)


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ("[]", "a mask 'tree' has 0 points; expected 2"),
        ("[[0, 1e999], [1, 1]]", "shapes.0.points.0.1: Input should be less than or equal to 1000000000"),
    ],
)
def test_a_labelme_mask_that_lies_nowhere_is_named(tmp_path: Path, points: str, said: str) -> None:
    labelme(tmp_path, SCENES)
    file = io.BytesIO()
    Image.new("L", (2, 2)).save(file, format="PNG")
    mask = base64.b64encode(file.getvalue()).decode()
    path = tmp_path / "one.json"
    path.write_text(
        f'{{"imagePath": "one.png", "shapes": [{{"label": "tree", "shape_type": "mask", "mask": "{mask}", "points": {points}}}]}}'
    )
    ids, [problem] = left(tmp_path)
    assert ids == ["three", "two"]
    assert said in problem


@pytest.mark.parametrize(
    ("write", "file", "spoil", "said"),
    [
        (
            coco,
            "annotations/instances_default.json",
            ("annotations", "category_id", []),
            "annotations[0]: there is no category []",
        ),
        (coco, "annotations/instances_default.json", ("annotations", "image_id", []), "annotations[0]: image_id is []"),
        (coco, "annotations/instances_default.json", ("images", "id", {}), "images[0] is {'id': {}"),
        (coco_panoptic, "panoptic.json", ("annotations", "image_id", []), "annotations[0]: there is no image []"),
        (coco_panoptic, "panoptic.json", ("images", "id", {}), "images[0] is {'id': {}"),
    ],
)
def test_ids_that_are_none_are_named(
    tmp_path: Path, write: Callable[..., None], file: str, spoil: tuple[str, str, Any], said: str
) -> None:
    write(tmp_path, SCENES)
    part, key, value = spoil
    change(tmp_path / file, lambda content: content[part][0].update({key: value}))
    ids, problems = left(tmp_path)
    assert {"two", "three"} <= set(ids)
    assert any(said in problem for problem in problems)


def test_a_category_of_a_segment_that_is_no_id_is_named(tmp_path: Path) -> None:
    coco_panoptic(tmp_path, SCENES)
    change(tmp_path / "panoptic.json", lambda content: content["annotations"][0]["segments_info"][0].update(category_id=[]))
    ids, [problem] = left(tmp_path)
    assert ids == ["two", "three"]
    assert "panoptic.json: annotations[0]: is {" in problem


@pytest.mark.parametrize(
    ("write", "inside"),
    [
        (labelme, "x.json"),
        (coco, "annotations/x.json"),
        (cvat, "x.xml"),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "link to nothing", "socket"])
@pytest.mark.unhurried
def test_what_is_no_file_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., None], inside: str, kind: str
) -> None:
    write(tmp_path, SCENES)
    path = tmp_path / inside
    if kind == "folder":
        path.mkdir()
    elif kind == "link to nothing":
        path.symlink_to("nothing")
    else:
        monkeypatch.chdir(path.parent)  # a socket's path may not be long
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    assert len(examined(open_dataset(tmp_path))) == len(SCENES)


@pytest.mark.parametrize(
    ("write", "inside", "rest"),
    [
        (yolo_seg, "labels/train/one.txt", ["three", "two"]),  # else the image would have nothing in it
        (voc, "ImageSets/Segmentation/train.txt", ["one", "three", "two"]),
    ],
)
@pytest.mark.parametrize(("content", "said"), [(None, "is no file"), (b"\xff", "is not text in UTF-8")])
def test_a_text_that_cannot_be_read_is_named(
    tmp_path: Path, write: Callable[..., None], inside: str, rest: list[str], content: bytes | None, said: str
) -> None:
    write(tmp_path, SCENES)
    path = tmp_path / inside
    path.unlink(missing_ok=True)
    if content is None:
        path.symlink_to("nothing")
    else:
        path.write_bytes(content)
    ids, [problem] = left(tmp_path)
    assert ids == rest
    assert problem.startswith(f"{path}: {said}")


@pytest.mark.unhurried
def test_a_number_that_json_cannot_hold_is_no_traceback(tmp_path: Path) -> None:
    labelme(tmp_path, SCENES)
    (tmp_path / "notes.json").write_text("1" * 5000)
    assert len(examined(open_dataset(tmp_path))) == len(SCENES)


def test_labelmes_faults_are_listed_where_nothing_else_is_there(tmp_path: Path) -> None:
    labelme(tmp_path, {"one": SCENES["one"]})
    change(tmp_path / "one.json", lambda content: content["shapes"][0].update(shape_type="linestrip"))
    assert "one.json: shapes.0.shape_type: Input should be 'polygon'" in wrong(tmp_path)


def test_no_format_is_told_from_a_text_that_cannot_be_read(tmp_path: Path) -> None:
    for name in ("train.txt", "x.json", "x.xml", "annotations.xml", "data.yaml", "labelmap.txt", "objectInfo150.txt"):
        (tmp_path / name).write_bytes("Straße Häuser\n".encode("latin-1"))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "x.txt").write_bytes(b"\xff")
    assert [name for name in catalog.names("formats") if catalog.load("formats", name).detect(tmp_path) is not None] == []


def test_an_only_object_whose_mask_bears_the_images_name_is_read(tmp_path: Path) -> None:
    for name, masks in (("a", ["a"]), ("b", ["x", "y"])):
        values(tmp_path / name / "images" / f"{name}.png", np.zeros((2, 3, 3), np.uint8))
        for mask in masks:
            values(tmp_path / name / "masks" / f"{mask}.png", np.array([[255, 0, 0], [0, 0, 0]], np.uint8))
    found = {sample.id: mask.tolist() for sample, _, mask in decoded(open_dataset(tmp_path))}
    assert found == {"a": [[1, 0, 0], [0, 0, 0]], "b": [[1, 0, 0], [0, 0, 0]]}


def test_a_mask_of_cityscapes_without_an_image_is_named(tmp_path: Path) -> None:
    for name in ("ulm_1_2", "ulm_1_3"):
        values(tmp_path / "leftImg8bit" / "train" / "ulm" / f"{name}_leftImg8bit.png", np.zeros((1, 3, 3), np.uint8))
        values(tmp_path / "gtFine" / "train" / "ulm" / f"{name}_gtFine_labelIds.png", np.array([[7, 8, 11]], np.uint8))
    image = tmp_path / "leftImg8bit" / "train" / "ulm" / "ulm_1_3_leftImg8bit.png"
    image.unlink()
    ids, [problem] = left(tmp_path)
    assert ids == ["ulm_1_2"]
    assert problem.endswith(f"ulm_1_3_gtFine_labelIds.png: has no image; expected {image}")


@pytest.mark.parametrize("beside", [True, False])
def test_yolos_list_of_classes_may_lie_among_its_labels(tmp_path: Path, beside: bool) -> None:
    yolo_seg(tmp_path, SCENES)
    if not beside:
        (tmp_path / "data.yaml").unlink()
    (tmp_path / "labels" / "classes.txt").write_text("house\ntree\n")
    masks = {sample.id: mask for sample, _, mask in decoded(open_dataset(tmp_path))}
    assert (masks["one"] == labels(SCENES["one"])).all()


@pytest.mark.unhurried
def test_names_that_several_files_have_are_listed_and_the_rest_is_read(tmp_path: Path) -> None:
    folder(tmp_path, {**SCENES, "four": []})
    images, masks = tmp_path / "images", tmp_path / "masks"
    values(images / "one.bmp", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    values(masks / "two.bmp", labels(SCENES["two"]))
    (images / "three.png").unlink()
    ids, problems = left(tmp_path)
    assert ids == ["four"]
    assert problems == [
        f"{images / 'one.bmp'} and {images / 'one.png'}: same name; rename one",
        f"{masks / 'two.bmp'} and {masks / 'two.png'}: same name; rename one",
        f"{masks / 'three.png'}: has no image; expected {images / 'three'}.png or .jpg",
    ]
    with Ledger() as ledger:
        ingested = ingest(open_dataset(tmp_path, tolerant=True), tmp_path.with_name("copy"), ledger=ledger, quarantine=True)
    assert (ingested.num_images, len(ingested.left_out)) == (1, 3)
    assert len(examined(open_dataset(tmp_path.with_name("copy")))) == 1


def test_an_image_of_which_one_class_has_two_masks_is_left_out(tmp_path: Path) -> None:
    for name in ("one", "two"):
        picture(tmp_path / "images" / f"{name}.png")
        for label in ("sky", "bird"):
            values(tmp_path / "masks" / label / f"{name}.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    values(tmp_path / "masks" / "sky" / "one.bmp", np.full((HEIGHT, WIDTH), 255, np.uint8))
    sky = tmp_path / "masks" / "sky"
    assert left(tmp_path) == (["two"], [f"{sky / 'one.bmp'} and {sky / 'one.png'}: same name; rename one"])


@pytest.mark.parametrize("kind", ["JPEGImages", "SegmentationClass", "SegmentationObject"])
def test_a_name_that_two_files_of_voc_have_is_left_out(tmp_path: Path, kind: str) -> None:
    voc(tmp_path, SCENES)
    values(tmp_path / kind / "one.bmp", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    here = tmp_path / kind
    assert left(tmp_path) == (["three", "two"], [f"{here / 'one.bmp'} and {here / 'one.png'}: same name; rename one"])


@pytest.mark.parametrize("kind", ["images", "annotations"])
def test_a_name_that_two_files_of_ade20k_have_is_left_out(tmp_path: Path, kind: str) -> None:
    for name in ("a", "b"):
        values(tmp_path / "images" / "training" / f"{name}.png", np.zeros((1, 3, 3), np.uint8))
        values(tmp_path / "annotations" / "training" / f"{name}.png", np.array([[0, 1, 2]], np.uint8))
    (tmp_path / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t0\t0\t0\t0\tx\n2\t0\t0\t0\t0\ty")
    here = tmp_path / kind / "training"
    values(here / "a.bmp", np.zeros((1, 3), np.uint8))
    assert left(tmp_path) == (["b"], [f"{here / 'a.bmp'} and {here / 'a.png'}: same name; rename one"])


@pytest.mark.unhurried
def test_a_mask_that_was_cut_short_hides_no_palette(tmp_path: Path) -> None:
    folder(tmp_path, SCENES)
    (tmp_path / "classes.json").unlink()
    for name, objects in SCENES.items():
        image = Image.fromarray(labels(objects), mode="P")
        image.putpalette(bytes([1, 2, 3, 4, 5, 6, 7, 8, 9]))
        image.save(tmp_path / "masks" / f"{name}.png")
    whole = (tmp_path / "masks" / "one.png").read_bytes()
    (tmp_path / "masks" / "one.png").write_bytes(whole[:-20])
    assert [one.color for one in open_dataset(tmp_path).classes] == [(1, 2, 3), (4, 5, 6), (7, 8, 9)]
    assert "1 of 3 pairs are unusable" in wrong(tmp_path)
