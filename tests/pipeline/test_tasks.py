"""Yes or no, and classes that overlap: from a folder of masks to a champion that serves."""

import json
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


def write(root: Path, *, overlapping: bool) -> Path:
    """As `class_folders`, or with the disc alone as `folder` with masks of 0 and 255."""
    for number in range(COUNT):
        image, masks = draw(number)
        paths = {name: root / "masks" / name for name in masks} if overlapping else {"disc": root / "masks"}
        for path, picture in ((root / "images", image), *((paths[name], masks[name] * np.uint8(255)) for name in paths)):
            path.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path / f"{number:02d}.png")
    if not overlapping:
        classes = [{"id": 0, "name": "background"}, {"id": 255, "name": "disc"}]
        (root / "classes.json").write_text(json.dumps({"classes": classes}))
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "terms"), [("binary", "{name: cross_entropy}"), ("multilabel", "[{name: focal}, {name: dice}]")]
)
def test_it_is_learned_scored_registered_and_served(task: str, terms: str, tmp_path: Path) -> None:
    params = ONE_CANDIDATE.replace("{format: auto}", f"{{format: auto, task: {task}}}").replace("{name: cross_entropy}", terms)
    project = Project(make_project(tmp_path / "project", params))
    overlapping = task == "multilabel"
    project.make("data", f"SOURCE={write(tmp_path / 'drawn', overlapping=overlapping)}", "FORMAT=auto")
    project.make("retrain")
    [best] = project.leaderboard["candidates"]
    # background, or nothing at all, everywhere scores below one half
    assert best["miou"] > 0.8, best
    assert [one["name"] for one in best["classes"]] == (["disc", "square"] if overlapping else ["background", "disc"])
    found = bundle.load(project.folder / "bundles" / "unet")
    assert found.facts.task == task

    image, masks = draw(seed=1000)
    predicted = Predictor(found)(image)
    truth = np.stack(list(masks.values())) if overlapping else masks["disc"]
    assert predicted.shape == truth.shape
    assert (predicted & truth).sum() > 0.8 * (predicted | truth).sum()
    mlflow.set_tracking_uri(f"sqlite:///{project.folder / 'mlflow.db'}")
    served = mlflow.pyfunc.load_model("models:/tiny@champion").predict(image)
    assert (served == predicted).all()
