"""A dataset of drawn shapes in the layout of CamVid, for what has no CamVid at hand."""

from pathlib import Path

from PIL import Image

from segmodels import shapes
from segmodels.atomic import write_json
from segmodels.images import write_mask


def write(root: Path, count: int, size_px: tuple[int, int]) -> None:
    """Three lists of so many different images each, with their masks as PNG."""
    for name in ("pictures", "labels"):
        (root / name).mkdir(parents=True)
    classes = [{"id": one.value, "name": one.name} for one in shapes.CLASSES]
    write_json(root / "classes.json", {"classes": [*classes, {"id": len(classes), "name": "void", "ignore": True}]})
    for number, split in enumerate(("train", "val", "test")):
        lines = []
        for index in range(count):
            picture, labels = f"pictures/{split}{index}.png", f"labels/{split}{index}.png"
            drawing = shapes.draw(size_px=size_px, seed=(number, index))
            Image.fromarray(drawing.image).save(root / picture)
            write_mask(root / labels, drawing.mask, shapes.CLASSES)
            lines.append(f"{picture} {labels}\n")
        (root / f"{split}.txt").write_text("".join(lines))
