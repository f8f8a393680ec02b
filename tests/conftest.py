"""Small drawn datasets and the folder of real ones."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from PIL import Image

from segmodels import environment, shapes, shards
from segmodels.assembly import Place, write
from segmodels.dataset import Dataset, open_dataset
from segmodels.examination import examine
from segmodels.ledger import Ledger
from segmodels.pairs import Facts, load
from segmodels.prepare import prepare
from segmodels.samples import RGB, ImageArray, ImageKind, Sample, SegmentationClass, Task, UInt8Array
from segmodels.shards import Pair
from segmodels.store import Store

environment.apply()  # telemetry is off in tests too
hypothesis.settings.register_profile("segmodels", deadline=None)  # how long a case takes is up to what else the machine does
hypothesis.settings.load_profile("segmodels")

REPOSITORY = Path(__file__).parent.parent
REAL = REPOSITORY.parent / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=10, help="how often test_random_kills.py kills a training")
    parser.addoption("--faults", type=int, default=3, help="how often test_soak.py kills or stops a server, a flow or a training")
    parser.addoption("--seed", type=int, default=0, help="which, and when")
    parser.addoption("--every", type=int, default=80, help="of so many writes test_every_write.py has one fail")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real images that are not part of the project."""
    if not REAL.is_dir():
        pytest.skip("the real images are not on this machine")
    return REAL


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn dataset of 24 images, 48 x 64 (height x width)."""
    folder = tmp_path_factory.mktemp("drawn") / "raw"
    shapes.write(folder, count=24, size_px=(48, 64), seed=3)
    return folder


@pytest.fixture(scope="session")
def prepared(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn dataset as a store, with images in each split."""
    return prepared_at(open_dataset(drawn), tmp_path_factory.mktemp("prepared") / "store")


def prepared_at(dataset: Dataset, folder: Path, **settings: Any) -> Path:
    """Prepare a dataset into `folder`; splits are drawn, a quarter of the images to validate and a third or so to test, unless told otherwise."""
    usual: dict[str, Any] = {"method": "group", "group_pattern": None, "val": 0.25, "test": 0.35, "seed": 0}
    with Ledger() as ledger:
        prepare(dataset, folder, ledger=ledger, kept=folder.with_name(f"{folder.name}-kept"), **usual | settings)
    return folder


@pytest.fixture(scope="session")
def store(prepared: Path) -> Store:
    return Store(prepared)


@pytest.fixture(scope="session")
def empty_records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database with nothing in it, to be copied: making one takes seconds."""
    path = tmp_path_factory.mktemp("records") / "mlflow.db"
    command = f"from mlflow import MlflowClient; MlflowClient('sqlite:///{path}').search_experiments()"
    subprocess.run([sys.executable, "-c", command], cwd=path.parent, check=True, capture_output=True)
    return path


def decoded(dataset: Dataset) -> list[tuple[Sample, ImageArray, UInt8Array]]:
    """Every sample with its image and its labelling."""
    return [(sample, *load(sample, dataset.classes)) for sample in dataset.samples]


def examined(dataset: Dataset) -> list[tuple[Sample, Facts]]:
    """Every sample with what an import counts in it; fails as an import does."""
    with Ledger() as ledger:
        return list(examine(dataset, ledger, ledger.digests(dataset.files)))


def stored(
    folder: Path,
    pairs: Sequence[Pair],
    classes: Sequence[SegmentationClass],
    task: Task = "multiclass",
    *,
    places: Mapping[str, Place] | None = None,
    kind: ImageKind = RGB,
    pairs_a_shard: int = 100,
) -> Store:
    """A store of these pairs; each trains and is a group of its own unless `places` says otherwise."""
    made = []
    for number, start in enumerate(range(0, len(pairs), pairs_a_shard)):
        shard = folder.parent / f"{folder.name}-shards" / str(number)
        shard.mkdir(parents=True)
        shards.write(shard, pairs[start : start + pairs_a_shard], classes, task)
        made.append(shards.read(shard))
    folder.mkdir(exist_ok=True)
    write(folder, made, classes, task, kind, places=places or {one.id: Place("train", one.id, one.id) for one in pairs})
    return Store(folder)


MakeDataset = Callable[..., Path]


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """Writes a dataset in the format `folder` from arrays; classes `a` 0, `b` 1 and void 255 unless told otherwise."""

    def make(
        masks: dict[str, np.ndarray], *, images: dict[str, np.ndarray] | None = None, classes: Sequence[dict[str, object]] = ()
    ) -> Path:
        root = tmp_path / "dataset"
        for name in ("images", "masks"):
            (root / name).mkdir(parents=True)
        for name, mask in masks.items():
            Image.fromarray(mask.astype(np.uint8)).save(root / "masks" / f"{name}.png")
        if images is None:
            images = {name: np.full((*mask.shape[:2], 3), 99, np.uint8) for name, mask in masks.items()}
        for name, image in images.items():
            Image.fromarray(image).save(root / "images" / f"{name}.png")
        listed = list(classes) or [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}]
        (root / "classes.json").write_text(json.dumps({"classes": listed}))
        return root

    return make


PARAMS = """
project: tiny
dataset: {format: auto}
classes: auto
splits: {method: auto}
augmentations:
  light: {recipe: light}
candidates:
  unet:
    architecture: unet
    encoder: resnet18
    options: {decoder_channels: [16, 8, 8]}
    loss: {name: cross_entropy}
    schedule: {name: poly}
    augmentation: light
  pspnet:
    architecture: pspnet
    encoder: resnet18
    options: {channels: 32, depth: 2}
    loss: {name: cross_entropy}
    schedule: {name: poly}
    augmentation: light
training: {size_px: [32, 64], epochs: 2, batch_size: 4, learning_rate: 0.002, seed: 0, export: none}
"""
"""Two candidates that train in seconds; exporting them would take longer."""


@pytest.fixture
def params_file(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS)
    return path


def make_project(folder: Path, params: str) -> Path:
    """A git repository with the project's files and params of its own, as a clone would be."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if name.startswith(("segmodels/", "flows/", ".dvc")) or name in ("dvc.yaml", "Makefile", ".gitignore"):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((REPOSITORY / name).read_bytes())
    (folder / "params.yaml").write_text(params)
    for command in (
        ["git", "init", "-q"],
        ["git", "add", "-A"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", "start"],
    ):
        subprocess.run(command, cwd=folder, check=True)
    return folder


def free_port() -> int:
    """A port on loopback that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without settings of the tools under test, for programs run as a person would."""
    ours = ("SEGMODELS_", "MLFLOW_", "PREFECT_", "DVC_", "MAKE", "MFLAGS", "VENV")
    return {key: value for key, value in os.environ.items() if not key.startswith(ours)} | variables
