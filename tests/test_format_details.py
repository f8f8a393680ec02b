"""What single formats have of their own, on small files as their tools write them, and on real ones where the machine has them."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segmodels.dataset import detect, open_dataset
from segmodels.errors import DatasetError
from segmodels.samples import IGNORE_INDEX
from tests.conftest import decoded, examined
from tests.test_every_format import HEIGHT, SCENES, WIDTH, coco, cvat, folder, labelme, labels, picture, values, voc, yolo_seg


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


def test_masks_of_one_scene_in_colours_that_no_class_has_are_named(tmp_path: Path) -> None:
    voc(tmp_path, SCENES)
    values(tmp_path / "SegmentationClass" / "one.png", np.full((HEIGHT, WIDTH, 3), 7, np.uint8))
    assert "one.png: mask holds the colours #070707" in wrong(tmp_path)
    assert labels([]).shape == (HEIGHT, WIDTH)
