"""PASCAL VOC: `JPEGImages/`, `SegmentationClass/`, `SegmentationObject/` and lists in `ImageSets/Segmentation/`, also as CVAT exports it.

Masks are palette pictures with 255 for void or, where `labelmap.txt` names the classes, in the colours that it gives them.
"""

from collections.abc import Iterator
from pathlib import Path

from segmodels.annotations import MaskFile
from segmodels.errors import DatasetError
from segmodels.formats._files import by_stem, matching, read_text, split_of
from segmodels.samples import IGNORE_INDEX, Color, Sample, SegmentationClass, Split

CLASSES, OBJECTS, IMAGES, LISTS, LABELMAP = (
    "SegmentationClass",
    "SegmentationObject",
    "JPEGImages",
    "ImageSets/Segmentation",
    "labelmap.txt",
)
CLASS_NAMES = "class_names.txt"
"""That labelme's converter writes: a name a line, of 0, 1, 2, ... after `__ignore__`."""
NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
VOID = SegmentationClass("void", IGNORE_INDEX, (224, 224, 192), ignore=True)
"""The border around objects."""


def detect(root: Path) -> str | None:
    base = _base(root)
    return f"has {(base / CLASSES).relative_to(root)}/" if base is not None else None


def classes(root: Path) -> list[SegmentationClass] | None:
    base = _base(root)
    if base is not None and (base / CLASS_NAMES).is_file() and not (base / LABELMAP).is_file():
        listed = [line.strip() for line in read_text(base / CLASS_NAMES).rstrip().splitlines()]
        names = [name for name in listed if name != "__ignore__"]
        return [*(SegmentationClass(name, value, _color(value)) for value, name in enumerate(names)), VOID]
    if base is None or not (base / LABELMAP).is_file():
        return [*(SegmentationClass(name, value, _color(value)) for value, name in enumerate(NAMES)), VOID]
    named = _labelmap(base / LABELMAP)
    if VOID.color not in [one.color for one in named] and VOID.name not in [one.name for one in named]:
        named.append(VOID)
    return named


def notes(root: Path) -> list[Path]:
    base = _base(root)
    return [] if base is None else [*matching(base / LISTS, "*.txt"), *matching(base, LABELMAP), *matching(base, CLASS_NAMES)]


def read(root: Path) -> Iterator[Sample]:
    """Every image that has a mask, in the splits of the lists.

    Raises:
        DatasetError: a folder is missing, a mask has no image, or a list names what is not there.
    """
    base = _base(root)
    if base is None or not (base / IMAGES).is_dir():
        raise DatasetError(f"{root}: the format `voc` needs {IMAGES}/ and {CLASSES}/")
    (images, image_clashes), (masks, mask_clashes), (objects, object_clashes) = (
        by_stem(base / folder) for folder in (IMAGES, CLASSES, OBJECTS)
    )
    problems = [*image_clashes.values(), *mask_clashes.values(), *object_clashes.values()]
    problems += [
        f"{path}: has no image; expected {base / IMAGES / name}.jpg"
        for name, path in masks.items()
        if name not in images and name not in image_clashes
    ]
    split_of_name = _lists(base / LISTS, {*masks, *mask_clashes}, problems)
    listed = split_of_name.keys() or masks.keys()
    for name in sorted((images.keys() & masks.keys() & listed) - object_clashes.keys()):
        annotation = MaskFile(masks[name], objects.get(name), frozenset({0, IGNORE_INDEX, _code(VOID.color)}))
        yield Sample(name, images[name], annotation, split=split_of_name.get(name))
    if problems:
        raise DatasetError(f"{root}: {len(problems)} files do not pair up", problems)


def _lists(folder: Path, masks: set[str], problems: list[str]) -> dict[str, Split | None]:
    """Names in the lists with their splits: `train` and `val` before `trainval`, which holds both."""
    found: dict[str, Split | None] = {}
    for path in sorted(folder.glob("*.txt"), key=lambda path: path.stem == "trainval"):
        split = None if path.stem == "trainval" else split_of(path.stem)
        try:
            lines = read_text(path).splitlines()
        except DatasetError as error:
            problems.append(str(error))
            continue
        for number, line in enumerate(lines, start=1):
            words = line.split()
            name = words[0] if words else ""
            if not name or (found.get(name) is not None and split is None):
                continue
            if name not in masks:
                # the test set's masks are not public
                if split != "test":
                    problems.append(f"{path}:{number}: {name} has no mask; expected {folder.parent.parent / CLASSES / name}.png")
            elif found.get(name) not in (None, split):
                problems.append(f"{path}:{number}: {name} is in the split {found[name]} already; list it once")
            else:
                found[name] = split
    return found


def _labelmap(path: Path) -> list[SegmentationClass]:
    """Lines `name:red,green,blue:parts:actions`."""
    found, problems = list[SegmentationClass](), []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        try:
            red, green, blue = (int(word) for word in rest.split(":")[0].split(","))
            if not name or not all(0 <= one <= 255 for one in (red, green, blue)):
                raise ValueError
        except ValueError:
            problems.append(f"{path}:{number}: {line!r}; expected `name:red,green,blue:parts:actions`")
            continue
        found.append(SegmentationClass(name, len(found), (red, green, blue)))
    if len({one.color for one in found}) < len(found):
        problems.append(
            f"{path}: two labels have the same colour, which masks cannot tell apart; give each its own and export again"
        )
    if problems:
        raise DatasetError(f"{path}: {len(problems)} wrong lines", problems)
    return found


def _base(root: Path) -> Path | None:
    """Where the folders are: in the dataset's or, as the archives unpack, in `VOCdevkit/VOC2012`."""
    for base in (root, *sorted(root.glob("VOC[0-9]*")), *sorted(root.glob("VOCdevkit/VOC[0-9]*"))):
        if (base / CLASSES).is_dir():
            return base
    return None


def _color(value: int) -> Color:
    """VOC's palette: the bits of the value, the last three first, from the highest bits of each colour down."""
    red = green = blue = 0
    for shift in range(7, -1, -1):
        red, green, blue = (one | (value >> place & 1) << shift for place, one in enumerate((red, green, blue)))
        value >>= 3
    return red, green, blue


def _code(color: Color) -> int:
    return color[0] + 256 * color[1] + 65536 * color[2]
