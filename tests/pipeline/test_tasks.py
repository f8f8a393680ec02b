"""Classes that overlap: from a folder of masks to a champion that serves. A yes or no: test_kinds.py."""

from pathlib import Path

import mlflow
import numpy as np
import pytest
from PIL import Image

from segmodels import bundle
from segmodels.predict import Predictor
from tests.conftest import PARAMS, make_project
from tests.pipeline.projects import Project

HEIGHT, WIDTH, COUNT = 32, 64, 48
ONE_CANDIDATE = (
    PARAMS[: PARAMS.index("  pspnet:\n")]
    + "training: {size_px: [32, 64], epochs: 14, batch_size: 4, learning_rate: 0.003, seed: 0}\n"
)


def draw(seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A reddish disc and a bluish square that mostly overlap, on noise; and where each is."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    at = rng.integers(10, [HEIGHT - 10, WIDTH - 10])
    beside = at + rng.integers(-9, 10, 2)
    masks = {
        "disc": (y - at[0]) ** 2 + (x - at[1]) ** 2 < rng.integers(6, 10) ** 2,
        "square": (abs(y - beside[0]) < 7) & (abs(x - beside[1]) < 7),
    }
    image = rng.normal(90, 25, (HEIGHT, WIDTH, 3))
    image[..., 0] += 90 * masks["disc"]
    image[..., 2] += 90 * masks["square"]
    return image.clip(0, 255).astype(np.uint8), masks


def write(root: Path) -> Path:
    """As `class_folders`."""
    for number in range(COUNT):
        image, masks = draw(number)
        for path, picture in (
            (root / "images", image),
            *((root / "masks" / name, mask * np.uint8(255)) for name, mask in masks.items()),
        ):
            path.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path / f"{number:02d}.png")
    return root


@pytest.mark.slow
def test_it_is_learned_scored_registered_and_served(tmp_path: Path) -> None:
    params = ONE_CANDIDATE.replace("{format: auto}", "{format: auto, task: multilabel}")
    params = params.replace("{name: cross_entropy}", "[{name: focal}, {name: dice}]")
    project = Project(make_project(tmp_path / "project", params))
    project.make("data", f"SOURCE={write(tmp_path / 'drawn')}", "FORMAT=auto")
    project.make("retrain")
    [best] = project.leaderboard["candidates"]
    # background, or nothing at all, everywhere scores below one half
    assert best["miou"] > 0.8, best
    assert [one["name"] for one in best["classes"]] == ["disc", "square"]
    found = bundle.load(project.folder / "bundles" / "unet")
    assert found.facts.task == "multilabel"

    image, masks = draw(seed=1000)
    predicted = Predictor(found)(image)
    truth = np.stack(list(masks.values()))
    assert predicted.shape == truth.shape
    assert (predicted & truth).sum() > 0.8 * (predicted | truth).sum()
    mlflow.set_tracking_uri(f"sqlite:///{project.folder / 'mlflow.db'}")
    served = mlflow.pyfunc.load_model("models:/tiny@champion").predict(image)
    assert (served == predicted).all()
