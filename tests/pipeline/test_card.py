"""The model card: read by Hugging Face's library, true of the bundle, and its snippet runs."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import ModelCard
from PIL import Image

from segmodels import bundle, card
from segmodels.predict import Predictor
from segmodels.samples import SegmentationClass
from tests.conftest import REPOSITORY, clean_environment
from tests.pipeline.test_registry import save_constant

CLASSES = [
    SegmentationClass("sky", 0, (0, 0, 9)),
    SegmentationClass("road", 1, (9, 9, 9)),
]
SCORES: dict[str, Any] = {
    "miou": 0.61239,
    "miou_low": 0.58,
    "miou_high": 0.64,
    "pixel_accuracy": 0.9,
    "num_images": 62,
    "classes": [{"name": "sky", "iou": 0.8, "num_images": 60}, {"name": "road", "iou": 0.42, "num_images": 5}],
}


def test_hugging_faces_library_reads_it(tmp_path: Path) -> None:
    save_constant(tmp_path / "m", 1, CLASSES)
    facts = bundle.read_facts(tmp_path / "m")
    found = ModelCard(card.text(facts, SCORES))
    data: Any = found.data
    assert (data.pipeline_tag, data.library_name) == ("image-segmentation", "segmodels")
    assert {"unet", "resnet18"} <= set(data.tags)
    results = {one.metric_type: one.metric_value for one in data.eval_results}
    assert results == {"mean_iou": 0.6124, "accuracy": 0.9}
    for said in (
        "a class of: sky, road.",
        "Mean IoU 0.6124 (95 % interval 0.5800 to 0.6400) on 62 test images",
        "| road | 0.4200 | 5 |",
        "Found unreliably (IoU below 0.5): road.",
        facts.dataset_sha256,
    ):
        assert said in found.text
    written = ModelCard.load(tmp_path / "m" / card.NAME)  # of the training alone
    assert written.data.get("eval_results") is None and "It has not been scored" in written.text


def test_its_snippet_runs(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    save_constant(folder, 1, CLASSES)
    [snippet] = re.findall(r"```python\n(.*?)```", (folder / card.NAME).read_text(), re.DOTALL)
    Image.new("RGB", (50, 30)).save(folder / "image.png")
    subprocess.run(
        [sys.executable, "-c", snippet], cwd=folder, env=clean_environment(PYTHONPATH=str(REPOSITORY)), check=True, timeout=120
    )
    mask = np.asarray(Image.open(folder / "mask.png"))
    assert (mask == Predictor(bundle.load(folder))(np.zeros((30, 50, 3), np.uint8))).all() and (mask == 1).all()


def test_its_snippet_runs_where_classes_overlap(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    save_constant(folder, 1, CLASSES, task="multilabel")
    [snippet] = re.findall(r"```python\n(.*?)```", (folder / card.NAME).read_text(), re.DOTALL)
    Image.new("RGB", (50, 30)).save(folder / "image.png")
    subprocess.run(
        [sys.executable, "-c", snippet], cwd=folder, env=clean_environment(PYTHONPATH=str(REPOSITORY)), check=True, timeout=120
    )
    found = {
        one.name: set(np.asarray(Image.open(folder / f"{one.name}.png")).reshape(-1).tolist())
        for one in CLASSES
        if not one.ignore
    }
    assert found == {one.name: {255 if index == 1 else 0} for index, one in enumerate(CLASSES) if not one.ignore}
