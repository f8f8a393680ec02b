"""Cityscapes: `leftImg8bit/<split>/<city>/` beside `gtFine/` (or `gtCoarse/`) with `_labelIds.png` or `_labelTrainIds.png`, `_instanceIds.png`.

The 19 classes of the benchmark are learned, the others void. The city is the group. The test set's masks, which hide all, are left out.
"""

from collections.abc import Iterator
from pathlib import Path

from segmodels.annotations import MaskFile
from segmodels.errors import DatasetError
from segmodels.formats._files import matching, split_of
from segmodels.samples import Color, Sample, SegmentationClass

IMAGES, MASKS = "leftImg8bit", ("gtFine", "gtCoarse")
# by train id: id, name, colour (cityscapesScripts, labels.py)
LEARNED: tuple[tuple[int, str, Color], ...] = (
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)
LEFT_OUT = {
    **{0: "unlabeled", 1: "ego vehicle", 2: "rectification border", 3: "out of roi", 4: "static", 5: "dynamic", 6: "ground"},
    **{
        9: "parking",
        10: "rail track",
        14: "guard rail",
        15: "bridge",
        16: "tunnel",
        18: "polegroup",
        29: "caravan",
        30: "trailer",
    },
}
FIRST_OBJECT = 1000
"""From here on instance ids are 1000 times the class and the number of the object; below they are classes without objects."""


def detect(root: Path) -> str | None:
    found = _masks(root)
    return f"has {IMAGES}/ and {found.name}/" if found is not None and (root / IMAGES).is_dir() else None


def classes(root: Path) -> list[SegmentationClass] | None:
    if _suffix(root) == "_labelTrainIds.png":
        return [SegmentationClass(name, value, color) for value, (_, name, color) in enumerate(LEARNED)]
    learned = [SegmentationClass(name, value, color) for value, name, color in LEARNED]
    return learned + [SegmentationClass(name, value, (0, 0, 0), ignore=True) for value, name in LEFT_OUT.items()]


def notes(root: Path) -> list[Path]:
    return []


def read(root: Path) -> Iterator[Sample]:
    """Every image of the training and validation cities.

    Raises:
        DatasetError: a folder is missing, an image has no mask or a mask no image; lists all of them.
    """
    masks = _masks(root)
    if masks is None or not (root / IMAGES).is_dir():
        raise DatasetError(f"{root}: the format `cityscapes` needs {IMAGES}/ and {MASKS[0]}/ or {MASKS[1]}/")
    ending, samples, problems = _suffix(root), [], list[str]()
    for mask in matching(masks, f"*/*/*_{masks.name}{ending}"):
        inside = mask.parent.relative_to(masks)
        image = root / IMAGES / inside / f"{mask.name.removesuffix(f'_{masks.name}{ending}')}_{IMAGES}.png"
        if not inside.parts[0].startswith("test") and not image.is_file():
            problems.append(f"{mask}: has no image; expected {image}")
    for image in sorted((root / IMAGES).glob(f"*/*/*_{IMAGES}.png")):
        split, city = image.parent.parent.name, image.parent.name
        if split.startswith("test"):
            continue
        name = image.name.removesuffix(f"_{IMAGES}.png")
        mask = masks / split / city / f"{name}_{masks.name}{ending}"
        objects = mask.with_name(f"{name}_{masks.name}_instanceIds.png")
        if not mask.is_file():
            problems.append(f"{image}: has no mask; expected {mask}")
            continue
        annotation = MaskFile(mask, objects if objects.is_file() else None, frozenset(range(FIRST_OBJECT)))
        samples.append(Sample(name, image, annotation, split=split_of(split), group=city))
    yield from samples
    if problems:
        raise DatasetError(f"{root}: {len(problems)} files do not pair up", problems)


def _masks(root: Path) -> Path | None:
    return next((root / name for name in MASKS if (root / name).is_dir()), None)


def _suffix(root: Path) -> str:
    masks = _masks(root)
    ids = masks is not None and any(masks.glob("*/*/*_labelIds.png"))
    return "_labelIds.png" if ids or masks is None else "_labelTrainIds.png"
