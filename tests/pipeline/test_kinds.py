"""Images of 16 bits in gray with a yes or no, and of five channels: from a folder of TIFF files to a champion that serves."""

from pathlib import Path

import mlflow
import numpy as np
import pytest
import tifffile
from PIL import Image

from segmodels import bundle
from segmodels.atomic import write_json
from segmodels.predict import Predictor
from segmodels.samples import ImageKind
from tests.conftest import make_project
from tests.pipeline.projects import Project
from tests.pipeline.test_cli import segmodels
from tests.pipeline.test_tasks import COUNT, HEIGHT, ONE_CANDIDATE, WIDTH


def draw(seed: int, kind: ImageKind) -> tuple[np.ndarray, np.ndarray]:
    """A disc that is brighter than the noise around it, in the last channel alone; of 16 bits by less than 8 bits would show."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    at = rng.integers(10, [HEIGHT - 10, WIDTH - 10])
    disc = (y - at[0]) ** 2 + (x - at[1]) ** 2 < rng.integers(6, 10) ** 2
    image = (
        rng.normal(900, 30, (HEIGHT, WIDTH, kind.channels))
        if kind.bits == 16
        else rng.normal(90, 25, (HEIGHT, WIDTH, kind.channels))
    )
    image[..., -1] += 90 * disc
    return image.clip(0).astype(kind.dtype), disc.astype(np.uint8)


def write(root: Path, kind: ImageKind) -> Path:
    for number in range(COUNT):
        image, disc = draw(number, kind)
        for name in ("images", "masks"):
            (root / name).mkdir(parents=True, exist_ok=True)
        path = root / "images" / f"{number:02d}.tif"
        if kind.channels == 1:
            tifffile.imwrite(path, image[..., 0], photometric="minisblack")
        else:
            tifffile.imwrite(path, image, photometric="minisblack", planarconfig="contig")
        Image.fromarray(disc).save(root / "masks" / f"{number:02d}.png")
    write_json(root / "classes.json", {"classes": [{"id": 0, "name": "background"}, {"id": 1, "name": "disc"}]})
    return root


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "task"), [(ImageKind(1, 16), "binary"), (ImageKind(5, 8), "multiclass")], ids=str)
def test_it_is_learned_scored_registered_and_served(kind: ImageKind, task: str, tmp_path: Path) -> None:
    dataset = f"{{format: auto, channels: {kind.channels}, bits: {kind.bits}, task: {task}}}"
    project = Project(make_project(tmp_path / "project", ONE_CANDIDATE.replace("{format: auto}", dataset)))
    source = write(tmp_path / "drawn", kind)
    project.make("data", f"SOURCE={source}")
    project.make("retrain")
    [best] = project.leaderboard["candidates"]
    assert best["miou"] > 0.8, best  # background everywhere scores below one half
    found = bundle.load(project.folder / "bundles" / "unet")
    assert found.kind == kind and found.facts.task == task

    image, disc = draw(1000, kind)
    predicted = Predictor(found)(image)
    assert (predicted & disc).sum() > 0.8 * (predicted | disc).sum()
    mlflow.set_tracking_uri(f"sqlite:///{project.folder / 'mlflow.db'}")
    assert (mlflow.pyfunc.load_model("models:/tiny@champion").predict(image) == predicted).all()
    segmodels("predict", str(source / "images" / "00.tif"), "--bundle", "bundles/unet", cwd=project.folder)
    assert np.asarray(Image.open(project.folder / "predictions" / "00.png")).shape == (HEIGHT, WIDTH)
    overlaid = np.asarray(Image.open(project.folder / "predictions" / "00_overlay.png"))
    assert overlaid.shape == (HEIGHT, WIDTH, 3) and overlaid.std() > 10  # stretched, so that people see something
