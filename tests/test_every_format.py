"""The same scenes written in every format, by writers that know nothing of the readers, are the same masks and objects."""

import base64
import io
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as run_lengths

from segmodels.dataset import open_dataset
from segmodels.errors import DatasetError
from segmodels.samples import Sample, SegmentationClass
from tests.conftest import decoded, examined

HEIGHT, WIDTH = 24, 40
COLORS = {"background": (0, 0, 0), "house": (200, 30, 30), "tree": (30, 160, 40)}
NAMES = list(COLORS)


@dataclass(frozen=True)
class Box:
    """An object: the pixels from `left`, `top` up to but without `right`, `bottom`; `hole` is cut out of it."""

    name: str
    left: int
    top: int
    right: int
    bottom: int
    hole: tuple[int, int, int, int] | None = None

    def pixels(self) -> np.ndarray:
        covered = np.zeros((HEIGHT, WIDTH), bool)
        covered[self.top : self.bottom, self.left : self.right] = True
        if self.hole is not None:
            left, top, right, bottom = self.hole
            covered[top:bottom, left:right] = False
        return covered

    def rings(self) -> list[list[tuple[int, int]]]:
        """Its corners, those of the hole the other way round."""
        outer = [(self.left, self.top), (self.right, self.top), (self.right, self.bottom), (self.left, self.bottom)]
        if self.hole is None:
            return [outer]
        left, top, right, bottom = self.hole
        return [outer, [(left, bottom), (right, bottom), (right, top), (left, top)]]


SCENES = {
    # the second tree stands before the house
    "one": [Box("house", 4, 6, 24, 20), Box("tree", 20, 2, 30, 22), Box("tree", 32, 10, 38, 20)],
    "two": [Box("tree", 0, 0, 10, 24), Box("house", 12, 4, 36, 20)],
    "three": [],
}
HOLED = {"one": [Box("house", 4, 4, 30, 20, hole=(10, 8, 20, 16)), Box("tree", 32, 2, 38, 8)]}


def labels(objects: Iterable[Box]) -> np.ndarray:
    """Class indices, drawn by hand: H x W."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for one in objects:
        mask[one.pixels()] = NAMES.index(one.name)
    return mask


def numbers(objects: Iterable[Box]) -> np.ndarray:
    found = np.zeros((HEIGHT, WIDTH), np.int32)
    for number, one in enumerate(objects, start=1):
        found[one.pixels()] = number
    return found


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(path.name.encode())
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(path)


def values(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def colored(mask: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.array(list(COLORS.values()), np.uint8)[mask]
    return found


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


CLASSES_JSON = {"classes": [{"id": value, "name": name, "color": COLORS[name]} for value, name in enumerate(NAMES)]}


def folder(root: Path, scenes: dict[str, list[Box]]) -> None:
    for name, objects in scenes.items():
        picture(root / "images" / f"{name}.png")
        values(root / "masks" / f"{name}.png", labels(objects))
    write_json(root / "classes.json", CLASSES_JSON)


def folder_of_colors(root: Path, scenes: dict[str, list[Box]]) -> None:
    for name, objects in scenes.items():
        picture(root / "images" / f"{name}.png")
        values(root / "masks" / f"{name}.png", colored(labels(objects)))
    lines = [f"{red} {green} {blue}\t{name}" for name, (red, green, blue) in COLORS.items()]
    (root / "label_colors.txt").write_text("\n".join(lines))


def folder_with_a_table(root: Path, scenes: dict[str, list[Box]]) -> None:
    folder_of_colors(root, scenes)
    (root / "label_colors.txt").unlink()
    lines = [f"{name},{red},{green},{blue}" for name, (red, green, blue) in COLORS.items()]
    (root / "class_dict.csv").write_text("\n".join(["name,r,g,b", *lines]))


def camvid(root: Path, scenes: dict[str, list[Box]]) -> None:
    for name, objects in scenes.items():
        picture(root / "train" / f"{name}.png")
        values(root / "trainannot" / f"{name}.png", labels(objects))
    (root / "train.txt").write_text("".join(f"train/{name}.png trainannot/{name}.png\n" for name in scenes))
    write_json(root / "classes.json", CLASSES_JSON)


def voc(root: Path, scenes: dict[str, list[Box]]) -> None:
    """As CVAT exports it: in colours."""
    for name, objects in scenes.items():
        picture(root / "JPEGImages" / f"{name}.png")
        values(root / "SegmentationClass" / f"{name}.png", colored(labels(objects)))
        shown = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128)], np.uint8)
        values(root / "SegmentationObject" / f"{name}.png", shown[numbers(objects)])
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "default.txt").write_text("\n".join(scenes))
    lines = [f"{name}:{','.join(map(str, color))}::" for name, color in COLORS.items()]
    (root / "labelmap.txt").write_text("\n".join(["# label:color_rgb:parts:actions", *lines]))


def coco_entries(scenes: dict[str, list[Box]], segmentation: Callable[[Box], Any]) -> dict[str, Any]:
    images = [
        {"id": 7 + place, "file_name": f"{name}.png", "height": HEIGHT, "width": WIDTH} for place, name in enumerate(scenes)
    ]
    annotations = [
        {
            "id": 1,
            "image_id": 7 + place,
            "category_id": 10 * NAMES.index(one.name),
            "iscrowd": 0,
            "segmentation": segmentation(one),
        }
        for place, objects in enumerate(scenes.values())
        for one in objects
    ]
    categories = [{"id": 10 * place, "name": name, "color": COLORS[name]} for place, name in enumerate(NAMES) if place]
    return {"images": images, "annotations": annotations, "categories": categories}


def flat(box: Box) -> list[list[int]]:
    return [[value for corner in ring for value in corner] for ring in box.rings()]


def coco(root: Path, scenes: dict[str, list[Box]]) -> None:
    for name in scenes:
        picture(root / "images" / f"{name}.png")
    write_json(root / "annotations" / "instances_default.json", coco_entries(scenes, flat))


def counts(box: Box) -> dict[str, Any]:
    """Run lengths down the columns, first of what is not in it."""
    column = box.pixels().T.reshape(-1).astype(int)
    changes = np.flatnonzero(np.diff(column)) + 1
    edges = np.array([0, *changes, len(column)])
    runs = np.diff(edges).tolist()
    return {"counts": [0, *runs] if column[0] else runs, "size": [HEIGHT, WIDTH]}


def coco_in_runs(root: Path, scenes: dict[str, list[Box]]) -> None:
    for name in scenes:
        picture(root / "train" / f"{name}.png")
    write_json(root / "train" / "_annotations.coco.json", coco_entries(scenes, counts))


def coco_in_packed_runs(root: Path, scenes: dict[str, list[Box]]) -> None:
    def packed(box: Box) -> dict[str, Any]:
        runs = run_lengths.encode(np.asfortranarray(box.pixels().astype(np.uint8)))
        return {"counts": bytes(runs["counts"]).decode(), "size": [HEIGHT, WIDTH]}  # type: ignore[arg-type]  # bytes in packed ones

    coco_in_runs(root, scenes)
    write_json(root / "train" / "_annotations.coco.json", coco_entries(scenes, packed))


def coco_panoptic(root: Path, scenes: dict[str, list[Box]]) -> None:
    entries = coco_entries(scenes, flat)
    annotations = []
    for place, (name, objects) in enumerate(scenes.items()):
        picture(root / "images" / f"{name}.png")
        shown, segments = numbers(objects), []
        segments = [
            {"id": 70_000 + number, "category_id": 10 * NAMES.index(one.name), "iscrowd": 0}
            for number, one in enumerate(objects, start=1)
            if (shown == number).any()
        ]
        codes = np.where(shown > 0, 70_000 + shown, 60_000)  # the rest is a segment too: nothing is void
        segments.append({"id": 60_000, "category_id": 0, "iscrowd": 0})
        values(
            root / "panoptic" / f"{name}.png",
            np.stack([codes % 256, codes // 256 % 256, codes // 65536], axis=-1).astype(np.uint8),
        )
        annotations.append({"image_id": 7 + place, "file_name": f"{name}.png", "segments_info": segments})
    categories = [
        {"id": 10 * place, "name": name, "color": COLORS[name], "isthing": int(place > 0)} for place, name in enumerate(NAMES)
    ]
    write_json(root / "panoptic.json", {"images": entries["images"], "annotations": annotations, "categories": categories})


def yolo_seg(root: Path, scenes: dict[str, list[Box]]) -> None:
    for name, objects in scenes.items():
        picture(root / "images" / "train" / f"{name}.png")
        (root / "labels" / "train").mkdir(parents=True, exist_ok=True)
        lines = [
            " ".join([str(NAMES.index(one.name) - 1), *(f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in one.rings()[0])])
            for one in objects
        ]
        if lines:
            (root / "labels" / "train" / f"{name}.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text("train: images/train\nnames:\n  0: house\n  1: tree\n")


def labelme(root: Path, scenes: dict[str, list[Box]]) -> None:
    for name, objects in scenes.items():
        picture(root / f"{name}.png")
        shapes = [{"label": one.name, "points": one.rings()[0], "shape_type": "polygon", "group_id": None} for one in objects]
        # a rectangle is given by two of its corners
        for shape in shapes[1:]:
            points: Any = shape["points"]
            shape |= {"points": [points[0], points[2]], "shape_type": "rectangle"}
        content = {
            "version": "5.5.0",
            "shapes": shapes,
            "imagePath": f"..\\{name}.png",
            "imageHeight": HEIGHT,
            "imageWidth": WIDTH,
        }
        write_json(root / f"{name}.json", content)


def labelme_in_bitmaps(root: Path, scenes: dict[str, list[Box]]) -> None:
    for name, objects in scenes.items():
        picture(root / f"{name}.png")
        shapes = []
        for one in objects:
            file = io.BytesIO()
            Image.fromarray(one.pixels()[one.top : one.bottom, one.left : one.right]).save(file, format="PNG")
            corners = [[one.left, one.top], [one.right - 1, one.bottom - 1]]
            mask = base64.b64encode(file.getvalue()).decode()
            shapes.append({"label": one.name, "points": corners, "shape_type": "mask", "mask": mask})
        write_json(root / f"{name}.json", {"shapes": shapes, "imagePath": f"{name}.png"})


def cvat(root: Path, scenes: dict[str, list[Box]], *, masks: bool = False) -> None:
    tree = ET.Element("annotations")
    entries = ET.SubElement(ET.SubElement(ET.SubElement(tree, "meta"), "task"), "labels")
    for name in NAMES[1:]:
        label = ET.SubElement(entries, "label")
        ET.SubElement(label, "name").text = name
        ET.SubElement(label, "color").text = "#{:02x}{:02x}{:02x}".format(*COLORS[name])
    for number, (name, objects) in enumerate(scenes.items()):
        picture(root / "images" / f"{name}.png")
        image = ET.SubElement(tree, "image", id=str(number), name=f"{name}.png", width=str(WIDTH), height=str(HEIGHT))
        for order, one in reversed(list(enumerate(objects))):  # what lies above what is told by z_order alone
            shape: dict[str, str] = {"label": one.name, "z_order": str(order)}
            if masks:
                inside = one.pixels()[one.top : one.bottom, one.left : one.right].reshape(-1).astype(int)
                edges = np.array([0, *(np.flatnonzero(np.diff(inside)) + 1), len(inside)])
                place = {"left": one.left, "top": one.top, "width": one.right - one.left, "height": one.bottom - one.top}
                shape |= {key: str(value) for key, value in place.items()}
                ET.SubElement(image, "mask", shape, rle=", ".join(map(str, [0, *np.diff(edges)])))
            else:
                ET.SubElement(image, "polygon", shape, points=";".join(f"{x:.2f},{y:.2f}" for x, y in one.rings()[0]))
    ET.ElementTree(tree).write(root / "annotations.xml", xml_declaration=True, encoding="utf-8")


def cvat_in_masks(root: Path, scenes: dict[str, list[Box]]) -> None:
    cvat(root, scenes, masks=True)


WRITERS = [folder, folder_of_colors, folder_with_a_table, camvid, voc, coco, coco_in_runs, coco_in_packed_runs, coco_panoptic]
WRITERS += [yolo_seg, labelme, labelme_in_bitmaps, cvat, cvat_in_masks]
WITH_HOLES = [folder, voc, coco, coco_in_runs, coco_in_packed_runs, coco_panoptic, labelme_in_bitmaps, cvat_in_masks]
WITHOUT_OBJECTS = [folder, folder_of_colors, folder_with_a_table, camvid]


def written(write: Callable[..., None], root: Path, scenes: dict[str, list[Box]]) -> Path:
    root.mkdir()
    write(root, scenes)
    return root


@pytest.mark.parametrize("write", WRITERS)
def test_the_same_scenes_are_the_same_masks(write: Callable[..., None], tmp_path: Path) -> None:
    dataset = open_dataset(written(write, tmp_path / "data", SCENES))
    assert write.__name__.startswith(dataset.format)
    assert [(one.name, one.color) for one in dataset.classes if not one.ignore] == list(COLORS.items()) or write in (
        yolo_seg,  # which have no colours
        labelme,
        labelme_in_bitmaps,
    )
    assert [one.name for one in dataset.classes if not one.ignore] == NAMES
    found = {sample.id: (image, mask) for sample, image, mask in decoded(dataset)}
    assert found.keys() == SCENES.keys()
    for name, objects in SCENES.items():
        assert (found[name][1] == labels(objects)).all(), name


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    left, top = draw(st.integers(0, WIDTH - 1)), draw(st.integers(0, HEIGHT - 1))
    right, bottom = draw(st.integers(left + 1, WIDTH)), draw(st.integers(top + 1, HEIGHT))
    return Box(draw(st.sampled_from(NAMES[1:])), left, top, right, bottom)


@pytest.mark.parametrize("write", WRITERS)
@settings(max_examples=40)
@given(st.lists(st.lists(boxes(), max_size=5), max_size=3))
@pytest.mark.unhurried
def test_what_is_written_is_what_is_read(write: Callable[..., None], drawn: list[list[Box]]) -> None:
    # the first has every class: formats without a list know no others
    scenes = {"one": SCENES["one"]} | {f"drawn-{number}": objects for number, objects in enumerate(drawn)}
    with TemporaryDirectory() as folder:
        dataset = open_dataset(written(write, Path(folder) / "data", scenes))
        found = {sample.id: (sample, mask) for sample, _, mask in decoded(dataset)}
        assert found.keys() == scenes.keys()
        for name, objects in scenes.items():
            sample, mask = found[name]
            assert (mask == labels(objects)).all()
            assert write in WITHOUT_OBJECTS or are_its_objects(sample, objects)


@pytest.mark.parametrize("write", [one for one in WRITERS if one not in WITHOUT_OBJECTS])
def test_the_same_scenes_are_the_same_objects(write: Callable[..., None], tmp_path: Path) -> None:
    dataset = open_dataset(written(write, tmp_path / "data", SCENES))
    for sample in dataset.samples:
        assert are_its_objects(sample, SCENES[sample.id])


def are_its_objects(sample: Sample, objects: list[Box]) -> bool:
    """Whether a sample has these objects, in whatever order they are numbered."""
    found, expected = sample.instances((HEIGHT, WIDTH)), numbers(objects)
    assert found is not None
    pairs = set(zip(found.reshape(-1).tolist(), expected.reshape(-1).tolist(), strict=True))
    one_to_one = len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})
    return one_to_one and bool(((found == 0) == (expected == 0)).all())


@pytest.mark.parametrize("write", WITH_HOLES)
def test_a_hole_stays_a_hole(write: Callable[..., None], tmp_path: Path) -> None:
    [(_, _, mask)] = decoded(open_dataset(written(write, tmp_path / "data", HOLED)))
    assert (mask == labels(HOLED["one"])).all()


def test_a_crowd_is_of_its_class_but_no_object(tmp_path: Path) -> None:
    root = written(coco, tmp_path / "data", SCENES)
    path = root / "annotations" / "instances_default.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["iscrowd"] = 1
    path.write_text(json.dumps(content))
    first = open_dataset(root).samples[0]
    found = first.instances((HEIGHT, WIDTH))
    assert found is not None
    house, tree = SCENES["one"][0].pixels(), SCENES["one"][1].pixels()
    assert not found[house & ~tree].any()
    assert (first.annotation.labelling((HEIGHT, WIDTH), open_dataset(root).classes) == labels(SCENES["one"])).all()


@pytest.mark.unhurried
def test_a_class_that_is_not_listed_is_named(tmp_path: Path) -> None:
    root = written(labelme, tmp_path / "data", SCENES)
    only = [SegmentationClass("background", 0, (0, 0, 0)), SegmentationClass("house", 1, (1, 1, 1))]
    with pytest.raises(DatasetError) as caught:
        examined(open_dataset(root, classes=only))
    assert "labels 'tree', but the classes are background, house" in str(caught.value)
    only.append(SegmentationClass("tree", 2, (2, 2, 2), ignore=True))
    masks = {sample.id: mask for sample, _, mask in decoded(open_dataset(root, classes=only))}
    assert (masks["one"][SCENES["one"][1].pixels()] == 255).all()
