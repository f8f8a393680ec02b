"""Formats: what is read from folders as people have them, and what is refused, with the file and the remedy."""

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segmodels.dataset import open_dataset
from segmodels.errors import DatasetError
from segmodels.pairs import load
from segmodels.samples import SegmentationClass
from tests.conftest import MakeDataset, decoded, examined, prepared_at

HALVES = np.array([[0, 0, 1, 1]] * 2, np.uint8)


def listed(root: Path) -> str:
    """What is wrong with a dataset."""
    with pytest.raises(DatasetError) as caught:
        examined(open_dataset(root))
    return str(caught.value)


def test_a_folder_is_matched_by_stem(make_dataset: MakeDataset) -> None:
    root = make_dataset({"one": HALVES, "two": 1 - HALVES})
    Image.new("RGB", (4, 2), (9, 8, 7)).save(root / "images" / "one.bmp")
    (root / "images" / "one.png").unlink()
    dataset = open_dataset(root)
    assert dataset.format == "folder"
    image, mask = load(dataset.samples[0], dataset.classes)
    assert image[0, 0].tolist() == [9, 8, 7]
    assert mask.tolist() == HALVES.tolist()


def test_colour_masks_by_the_classes_colours(make_dataset: MakeDataset) -> None:
    red, blue = (255, 0, 0), (0, 0, 255)
    colors = np.array([red, blue, (0, 0, 0)], np.uint8)
    classes = [
        {"id": 5, "name": "a", "color": red},
        {"id": 9, "name": "b", "color": blue},
        {"id": 0, "name": "void", "color": [0, 0, 0], "ignore": True},
    ]
    root = make_dataset({"one": colors[[[0, 1, 2, 0]]]}, classes=classes)
    dataset = open_dataset(root)
    assert load(dataset.samples[0], dataset.classes)[1].tolist() == [[0, 1, 255, 0]]


def test_without_classes_json_the_palette_tells(make_dataset: MakeDataset) -> None:
    root = make_dataset({"one": HALVES})
    (root / "classes.json").unlink()
    image = Image.fromarray(np.array([[0, 2, 255]], np.uint8), mode="P")
    image.putpalette(bytes([10, 11, 12, 20, 21, 22, 30, 31, 32]) + bytes(253 * 3))
    image.save(root / "masks" / "one.png")
    Image.new("RGB", (3, 1)).save(root / "images" / "one.png")
    dataset = open_dataset(root)
    assert dataset.classes == [
        SegmentationClass("class_0", 0, (10, 11, 12)),
        SegmentationClass("class_1", 1, (20, 21, 22)),
        SegmentationClass("class_2", 2, (30, 31, 32)),
    ]
    assert load(dataset.samples[0], dataset.classes)[1].tolist() == [[0, 2, 255]]


def test_a_folders_csv_gives_splits_and_groups(make_dataset: MakeDataset) -> None:
    root = make_dataset({"one": HALVES, "two": HALVES})
    (root / "samples.csv").write_text("id,split,group\none,train,street\ntwo,test,\n")
    first, second = open_dataset(root).samples
    assert (first.split, first.group) == ("train", "street")
    assert (second.split, second.group) == ("test", None)


def test_partners_that_are_missing_are_all_named(make_dataset: MakeDataset) -> None:
    root = make_dataset({"one": HALVES, "two": HALVES, "three": HALVES})
    (root / "masks" / "one.png").unlink()
    (root / "images" / "two.png").unlink()
    text = listed(root)
    assert "images/one.png: has no mask" in text
    assert "masks/two.png: has no image" in text


@pytest.mark.unhurried
def test_every_unusable_pair_is_named(make_dataset: MakeDataset) -> None:
    root = make_dataset(dict.fromkeys(("cut", "good", "ids", "size"), HALVES))
    whole = (root / "images" / "cut.png").read_bytes()
    (root / "images" / "cut.png").write_bytes(whole[:-20])
    Image.fromarray(np.array([[0, 7, 1, 1]] * 2, np.uint8)).save(root / "masks" / "ids.png")
    Image.new("L", (2, 2)).save(root / "masks" / "size.png")
    text = listed(root)
    assert "3 of 4 pairs are unusable" in text
    assert "images/cut.png: cannot be read" in text
    assert "masks/ids.png: mask holds 7, but the classes have 0, 1" in text
    assert "masks/size.png: mask is 2 x 2 (width x height), its image 4 x 2" in text


def test_names_of_old_systems_are_named(make_dataset: MakeDataset) -> None:
    root = make_dataset({"one": HALVES, "two": HALVES, "three": HALVES})
    for folder, name in (("images", "one"), ("masks", "one"), ("images", "two")):
        (root / folder / f"{name}.png").rename(os.fsdecode(os.fsencode(root / folder) + b"/caf\xe9-" + name.encode() + b".png"))
    text = listed(root)
    text.encode()  # can be printed
    assert "images/caf\\udce9-one.png: its name is not in UTF-8; rename it" in text
    assert "images/caf\\udce9-two.png: has no mask" in text
    with pytest.raises(DatasetError, match="the name of the folder, or of one that it is in, is not in UTF-8"):
        open_dataset(Path(os.fsdecode(b"/caf\xe9/dataset")))


def test_the_name_of_a_class_is_text(make_dataset: MakeDataset) -> None:
    classes = [SegmentationClass("x", 0, (0, 0, 0)), SegmentationClass("y\ud800", 1, (9, 9, 9))]
    with pytest.raises(DatasetError, match=r"the name of the class y\\ud800 is not text"):
        open_dataset(make_dataset({"one": HALVES}), classes=classes)


def test_names_that_some_file_systems_take_for_one_are_named(make_dataset: MakeDataset) -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    text = listed(make_dataset(dict.fromkeys(("Street", "street", "other", composed, apart), HALVES)))
    assert "images/street.png: differs only in letter case or the form of accents from" in text
    assert text.count("rename one") == 3  # the two of one name are so among images and among masks


def test_an_empty_dataset_is_refused(make_dataset: MakeDataset) -> None:
    assert "is empty" in listed(make_dataset({}))


def test_a_folder_of_nothing_known_is_refused(tmp_path: Path) -> None:
    assert "cannot tell its format" in listed(tmp_path)


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    root = tmp_path / "camvid"
    lists = {"train": ["0001_a", "0002_a"], "val": ["0003_b"], "test": ["0004_c"]}
    for split, names in lists.items():
        (root / split).mkdir(parents=True)
        for name in names:
            Image.new("RGB", (4, 2)).save(root / split / f"{name}.jpg")
            Image.fromarray(HALVES).save(root / split / f"{name}_L.png")
        (root / f"{split}.txt").write_text("".join(f"{split}/{name}.jpg {split}/{name}_L.png\n" for name in names))
    (root / "classes.json").write_text(json.dumps({"classes": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}], "source": "us"}))
    return root


def test_camvids_lists_give_the_splits_and_names_the_sequences(camvid: Path) -> None:
    dataset = open_dataset(camvid)
    assert dataset.format == "camvid"
    assert [(one.id, one.split, one.group) for one in dataset.samples] == [
        ("0001_a", "train", "0001"),
        ("0002_a", "train", "0002"),
        ("0003_b", "val", "0003"),
        ("0004_c", "test", "0004"),
    ]
    assert len(decoded(dataset)) == 4


@pytest.mark.parametrize("line", ["train/0001_a.jpg", "../outside.jpg train/0001_a_L.png", "/etc/passwd /etc/passwd"])
def test_a_line_that_is_no_pair_inside_the_folder_is_named(camvid: Path, line: str) -> None:
    with (camvid / "train.txt").open("a") as file:
        file.write(f"{line}\n")
    text = listed(camvid)
    assert "train.txt:3" in text
    assert line in text


def test_lists_may_still_name_folders_of_another_machine(camvid: Path) -> None:
    before = [(sample.id, sample.image_path) for sample in open_dataset(camvid).samples]
    for path in camvid.glob("*.txt"):
        lines = [line.split() for line in path.read_text().splitlines()]
        path.write_text("".join(" ".join(f"/SegNet/CamVid/{word}" for word in words) + "\n" for words in lines))
    assert [(sample.id, sample.image_path) for sample in open_dataset(camvid).samples] == before


def test_a_name_on_two_lists_is_refused(camvid: Path) -> None:
    (camvid / "val.txt").write_text((camvid / "train.txt").read_text())
    assert "0001_a.jpg stands at" in listed(camvid)


def test_the_real_camvid(real_data: Path) -> None:
    dataset = open_dataset(real_data / "camvid")
    assert Counter(one.split for one in dataset.samples) == {"train": 367, "val": 101, "test": 233}
    assert [one.name for one in dataset.classes][:3] == ["Sky", "Building", "Pole"]
    image, mask = load(dataset.samples[0], dataset.classes)
    assert image.shape == (360, 480, 3)
    # ids are the indices here, and 11 is void
    raw = np.array(Image.open(dataset.samples[0].annotation.files[0]))
    assert (mask == np.where(raw == 11, 255, raw)).all()


CAMVID = [SegmentationClass(str(value), value, (value, 0, 0), value == 11) for value in range(12)]


@pytest.mark.parametrize("name", ["image_gray", "image_cmyk_jpeg", "mask_palette_void255", "mask_rgba"])
def test_odd_files_that_mean_only_one_thing_are_read(real_data: Path, name: str) -> None:
    dataset = open_dataset(real_data / "oddities" / name, classes=CAMVID)
    [(_, image, mask)] = decoded(dataset)
    assert image.shape == (*mask.shape, 3)
    assert len(np.unique(mask)) > 3


def test_ids_beyond_a_byte_are_read_when_classes_have_them(real_data: Path) -> None:
    thousands = [SegmentationClass(str(value), value * 1000, (value, 0, 0), value == 11) for value in range(12)]
    [(sample, _, mask)] = decoded(open_dataset(real_data / "oddities" / "mask_16bit", classes=thousands))
    raw = np.array(Image.open(sample.annotation.files[0])) // 1000
    assert (mask == np.where(raw == 11, 255, raw)).all()


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("image_16bit_gray", "or train on all of them: dataset.bits: 16 in params.yaml"),
        ("image_missing", "has no image"),
        ("image_truncated_jpeg", "cannot be read"),
        ("mask_half_size", "re-export the mask"),
        ("mask_id_out_of_range", "the classes have"),
        ("mask_jpeg_lossy", "is a JPEG"),
        ("mask_missing", "has no mask"),
        ("mask_off_by_one", "its image 480 x 360"),
        ("mask_16bit", "mask holds 1000, 2000"),
        ("mask_all_void", "says of no pixel what it is"),
    ],
)
def test_odd_files_that_could_mislead_are_refused(real_data: Path, name: str, fault: str) -> None:
    with pytest.raises(DatasetError, match=fault):
        examined(open_dataset(real_data / "oddities" / name, classes=CAMVID))


LEFT = np.array([[255, 255, 0, 0]] * 2, np.uint8)
MIDDLE = np.array([[0, 1, 1, 128]] * 2, np.uint8)


def overlapping(root: Path, layers: dict[str, dict[str, np.ndarray]]) -> Path:
    """A dataset with a mask a class: by class, by image."""
    for name in {image for masks in layers.values() for image in masks}:
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 2)).save(root / "images" / f"{name}.png")
    for label, masks in layers.items():
        for name, mask in masks.items():
            path = root / "masks" / label / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
    return root


def test_a_folder_of_masks_a_class_lets_classes_overlap(tmp_path: Path) -> None:
    dataset = open_dataset(overlapping(tmp_path, {"sky": {"one": LEFT}, "bird": {"one": MIDDLE, "two": MIDDLE * 0}}))
    assert (dataset.format, dataset.task) == ("class_folders", "multilabel")
    assert [one.name for one in dataset.classes] == ["bird", "sky"]
    _, labelling = load(dataset.samples[0], dataset.classes)
    assert labelling[:, 0].tolist() == [[0, 1, 1, 255], [1, 1, 0, 0]]
    # there is no mask of the sky for it
    assert not load(dataset.samples[1], dataset.classes)[1].any()


@pytest.mark.unhurried
def test_masks_a_class_with_a_fault_name_it(tmp_path: Path) -> None:
    root = overlapping(tmp_path, {"sky": {"one": LEFT, "two": LEFT}, "bird": {"one": np.array([[7, 0, 0, 0]] * 2, np.uint8)}})
    assert "masks/bird/one.png: mask holds 7; expected 0 (no), 255 or 1 (yes), 127 or 128 (void)" in listed(root)
    (root / "masks" / "sky" / "two.png").unlink()
    (root / "images" / "three.png").write_bytes((root / "images" / "one.png").read_bytes())
    assert "images/three.png: has no mask; if nothing is in it, add an empty one" in listed(root)
    (root / "images" / "one.png").unlink()
    assert "masks/sky/one.png: has no image" in listed(root)


def test_masks_of_a_class_that_is_not_named_are_refused(tmp_path: Path) -> None:
    root = overlapping(tmp_path, {"sky": {"one": LEFT}, "bird": {"one": MIDDLE}})
    only = [SegmentationClass("sky", 0, (0, 0, 0))]
    with pytest.raises(DatasetError, match=r"there are masks of bird, but the classes are sky.*ignore: true"):
        open_dataset(root, classes=only)
    dataset = open_dataset(root, classes=[*only, SegmentationClass("bird", 1, (0, 0, 0), ignore=True)])
    assert load(dataset.samples[0], dataset.classes)[1].tolist() == [[[1, 1, 0, 0]] * 2]


def test_folders_of_sequences_are_no_classes(make_dataset: MakeDataset) -> None:
    root = make_dataset({"one": HALVES})
    for kind in ("images", "masks"):
        (root / kind / "street").mkdir()
        (root / kind / "one.png").rename(root / kind / "street" / "one.png")
    dataset = open_dataset(root)
    assert (dataset.format, dataset.task) == ("folder", "multiclass")
    assert [sample.id for sample in dataset.samples] == ["street/one"]


def test_a_task_that_is_not_the_datasets_is_refused(make_dataset: MakeDataset, tmp_path: Path) -> None:
    exclusive = make_dataset({"one": HALVES}, classes=[{"id": n, "name": name} for n, name in enumerate("abc")])
    with pytest.raises(DatasetError, match=r"'multilabel', but the dataset has one mask an image.*multiclass or binary"):
        open_dataset(exclusive, task="multilabel")
    with pytest.raises(DatasetError, match=r"'binary', but there are 3 classes \(a, b, c\); expected 2"):
        open_dataset(exclusive, task="binary")
    with pytest.raises(DatasetError, match=r"'binary', but the dataset has a mask for every class.*set it to multilabel"):
        open_dataset(overlapping(tmp_path / "o", {"sky": {"one": LEFT}}), task="binary")


def test_a_class_may_have_the_id_255(make_dataset: MakeDataset) -> None:
    """Masks of yes and no come as 0 and 255."""
    root = make_dataset({"one": HALVES * 255}, classes=[{"id": 0, "name": "background"}, {"id": 255, "name": "polyp"}])
    dataset = open_dataset(root, task="binary")
    assert load(dataset.samples[0], dataset.classes)[1].tolist() == HALVES.tolist()


def test_masks_that_teach_nothing_are_refused(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """0 and 255 in the masks, 0 and 1 in the classes: all that matters would silently be void."""
    root = make_dataset(dict.fromkeys("xyz", HALVES * 255))
    (root / "samples.csv").write_text("id,split\nx,train\ny,val\nz,test\n")
    with pytest.raises(DatasetError, match=r"show only a of a, b.*\(a = 0, b = 1\).*255 is void unless a class has that id"):
        prepared_at(open_dataset(root), tmp_path / "store", method="given")
    assert not (tmp_path / "store").exists()


def test_a_folder_without_masks_is_no_class_and_a_stray_file_no_mask(tmp_path: Path) -> None:
    root = overlapping(tmp_path, {"sky": {"one": LEFT}, "bird": {"one": MIDDLE}})
    (root / "masks" / "empty").mkdir()
    (root / "masks" / "Thumbs.db").write_bytes(b"")
    dataset = open_dataset(root)
    assert (dataset.format, [one.name for one in dataset.classes]) == ("class_folders", ["bird", "sky"])


def test_a_split_that_shows_nothing_is_refused(tmp_path: Path) -> None:
    root = overlapping(tmp_path / "d", {"sky": {"x": LEFT, "y": LEFT * 0, "z": LEFT}})
    (root / "samples.csv").write_text("id,split\nx,train\ny,val\nz,test\n")
    with pytest.raises(DatasetError, match=r"none of the 1 masks of the split val shows any of sky: there is nothing to score"):
        prepared_at(open_dataset(root), tmp_path / "store", method="given")


def test_one_class_alone_is_refused(make_dataset: MakeDataset) -> None:
    root = make_dataset({"one": HALVES * 0 + 1}, classes=[{"id": 1, "name": "polyp"}])
    with pytest.raises(DatasetError, match="polyp is the only class: there is nothing to tell it from; list what else"):
        open_dataset(root)


def blobs(ids: list[int]) -> np.ndarray:
    """Thirty regions of random classes: of every pixel that of the nearest of thirty points."""
    rng = np.random.default_rng(0)
    points, of = rng.integers(0, [100, 120], (30, 2)), rng.choice(ids, 30)
    places = np.moveaxis(np.indices((100, 120)), 0, -1)
    nearest = ((places[:, :, None] - points) ** 2).sum(axis=-1).argmin(axis=-1)
    return np.asarray(of[nearest], np.uint8)


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.5, 2.0])
def test_a_mask_that_was_scaled_as_a_picture_is_named(make_dataset: MakeDataset, factor: float) -> None:
    """Its classes are all there are, so that no id is unknown."""
    classes = [{"id": n, "name": f"c{n}"} for n in range(12)]
    mask = cv2.resize(blobs([0, 3, 8, 11]), None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    text = listed(make_dataset({"one": mask}, classes=classes))
    assert "masks/one.png: along its borders the mask holds ids between those on either side" in text


def test_a_class_that_is_a_rim_is_no_sign_of_scaling(make_dataset: MakeDataset) -> None:
    """Cells of class 2 in a rim of class 1, one pixel wide, on class 0; and the mask of blobs as it is, and scaled as masks are."""
    cells = blobs([0, 1])
    inner = cv2.erode(cells, np.ones((3, 3), np.uint8))
    sharp = cv2.resize(blobs([0, 3, 8, 11]), None, fx=0.7, fy=0.7, interpolation=cv2.INTER_NEAREST)
    masks = {"rims": cells + inner, "blobs": blobs([0, 3, 8, 11]), "sharp": sharp}
    dataset = open_dataset(make_dataset(masks, classes=[{"id": n, "name": f"c{n}"} for n in range(12)]))
    assert all((mask == masks[sample.id]).all() for sample, _, mask in decoded(dataset))


def test_the_masks_of_camvid_are_not_taken_for_scaled(real_data: Path) -> None:
    dataset = open_dataset(real_data / "camvid")
    assert len(decoded(replace(dataset, samples=dataset.samples[::40]))) == 18
