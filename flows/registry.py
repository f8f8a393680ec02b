"""The model registry: every candidate that was put forward is a version, by its bundle's content: registering it again changes nothing."""

import contextlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

import segmodels
from flows.aliases import aliased
from segmodels import atomic, backends, bundle, card, digests, tracking
from segmodels.backends import Backend
from segmodels.errors import BundleError, InputError
from segmodels.records import CHAMPION, DATASET, is_gone
from segmodels.samples import ImageKind
from segmodels.store import Store

_SERVING = (
    "huggingface-hub",
    "mlflow",
    "numpy",
    "onnx",
    "onnxruntime",
    "opencv-python-headless",
    "openvino",
    "psutil",
    "pydantic",
    "safetensors",
    "segmentation-models-pytorch",
    "timm",
    "torch",
    "torchvision",
)
ANSWERS_S = 300
"""How long a version may take to load and answer."""
_TEST_SET, _TESTED = "test_set.json", "segmodels.tested"
"""The hashes of the test images, and the tag of the model that names the run that has those of the last decision."""
_BACKEND, _PRECISION = "segmodels.backend", "segmodels.precision"
_BUNDLE = "segmodels.bundle_sha256"


def hashes(store: Store) -> dict[str, str]:
    """The hash of each test image with its labels, by id."""
    test = store.manifest[store.manifest["split"] == "test"]
    return dict(zip(test["id"], test["sha256"], strict=True))


def remember_test_set(client: MlflowClient, project: str, run_id: str, tested: dict[str, str]) -> None:
    """Note the test images that a decision was made on, in its run."""
    client.log_dict(run_id, tested, _TEST_SET)
    client.set_registered_model_tag(project, _TESTED, run_id)


def test_set(client: MlflowClient, project: str) -> dict[str, str]:
    """The test images of the last decision; empty before the first.

    Raises:
        BundleError: they are not on record any more.
    """
    run_id = client.get_registered_model(project).tags.get(_TESTED)
    if run_id is None:
        return {}
    mlflow.set_tracking_uri(tracking.uri())
    try:
        found: dict[str, str] = mlflow.artifacts.load_dict(f"runs:/{run_id}/{_TEST_SET}")
    except MlflowException as error:
        if is_gone(error):
            raise BundleError(f"{_TEST_SET} of run {run_id} is gone") from error
        raise
    return found


def registered(client: MlflowClient, project: str, folder: Path, best: dict[str, Any], run_id: str) -> ModelVersion:
    """The version of this bundle, made if there is none."""
    found = tracking.versions(project, _BUNDLE, best["bundle_sha256"])
    if found:
        return found[0]
    tags = {
        _BUNDLE: best["bundle_sha256"],
        _BACKEND: best["backend"],
        _PRECISION: best["precision"],
        "segmodels.candidate": best["name"],
        DATASET: bundle.load(folder).facts.dataset_sha256,
        "segmodels.dvc_lock_sha256": digests.of_file(Path("dvc.lock")),
        "segmodels.params_sha256": digests.of_file(Path("params.yaml")),
        "segmodels.git_commit": bundle.load(folder).facts.git_commit or "unknown",
    }
    uri = _log_model(folder, run_id, best)
    try:
        client.create_registered_model(project)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    model_id = uri.removeprefix("models:/")
    return client.create_model_version(project, uri, run_id=run_id, model_id=model_id, tags=tags)


def _log_model(folder: Path, run_id: str, best: dict[str, Any]) -> str:
    """Log the bundle as an MLflow model of its run, with its scores in its card; returns its address."""
    package = Path(segmodels.__file__).parent
    loaded = bundle.load(folder)
    kind, mask_shape = loaded.kind, (-1, -1, -1) if loaded.facts.task == "multilabel" else (-1, -1)
    mlflow.set_tracking_uri(tracking.uri())
    with tempfile.TemporaryDirectory() as work, mlflow.start_run(run_id=run_id):
        scored = Path(shutil.copytree(folder, Path(work) / "bundle"))
        (scored / card.NAME).write_text(card.text(loaded.facts, best), encoding="utf-8")
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(package / "mlflow_model.py"),
            artifacts={"bundle": str(scored)},
            model_config={"backend": best["backend"], "precision": best["precision"]},
            code_paths=[str(package)],
            signature=ModelSignature(
                Schema([TensorSpec(kind.dtype, (-1, -1, kind.channels))]), Schema([TensorSpec(np.dtype(np.uint8), mask_shape)])
            ),
            input_example=np.zeros((64, 64, kind.channels), kind.dtype),
            pip_requirements=_requirements(),
        )
    return str(info.model_uri)


def _requirements() -> list[str]:
    """What a prediction imports, in the versions it was scored with."""
    return [f"{name}=={importlib.metadata.version(name)}" for name in _SERVING]


def backend_of(version: ModelVersion, held: bundle.Bundle) -> Backend:
    """What runs its bundle: what that was scored with when it was registered."""
    name = next(one for one in backends.NAMES if one == version.tags[_BACKEND])
    precision = next(one for one in backends.PRECISIONS if one == version.tags[_PRECISION])
    return backends.load(held, name, precision=precision)


def fetch(version: ModelVersion, folder: Path) -> bundle.Bundle:
    """A version's bundle, copied to `folder` unless it is there.

    Raises:
        BundleError: it is gone or damaged, or is not the one that was registered.
    """
    if folder.is_dir():
        with contextlib.suppress(BundleError):  # damaged, or what is left of another registry
            held = bundle.load(folder)
            if held.sha256 == version.tags[_BUNDLE]:
                return held
        shutil.rmtree(folder)
    with tempfile.TemporaryDirectory() as fetched, atomic.folder(folder) as partial:
        mlflow.set_tracking_uri(tracking.uri())
        try:
            mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}", dst_path=fetched)
        except MlflowException as error:
            if not is_gone(error):
                raise
        facts = next(Path(fetched).rglob(bundle.FACTS), None)
        if facts is None:
            raise BundleError(f"what was stored of version {version.version} of {version.name} is gone; promote another version")
        shutil.copytree(facts.parent, partial, dirs_exist_ok=True)
    held = bundle.load(folder)
    if held.sha256 != version.tags[_BUNDLE]:
        raise BundleError(
            f"version {version.version} of {version.name} is not the bundle that was registered (sha256 {version.tags[_BUNDLE][:12]}, "
            f"found {held.sha256[:12]}); promote another version"
        )
    return held


def copied(version: ModelVersion, folder: Path) -> bundle.Bundle:
    """`fetch` to where a person says: what lies there already and is not this very bundle stays.

    Raises:
        InputError: something else lies there.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        try:
            there = bundle.load(folder).sha256
        except BundleError:
            there = "something else"
        if there != version.tags[_BUNDLE]:
            raise InputError(f"--out: {folder} is there already and is not version {version.version}; name a new folder")
    return fetch(version, folder)


def version_of(project: str, named: str) -> ModelVersion:
    """A version by its number, or the champion.

    Raises:
        InputError: there is none.
    """
    client = tracking.connect()
    known = {str(one.version): one for one in client.search_model_versions(f"name = '{project}'")}
    champion = aliased(client, project, CHAMPION)
    found = champion if named == CHAMPION else known.get(named)
    if found is None:
        raise InputError(f"{named}: is no version of {project}; there are {', '.join(sorted(known, key=int)) or 'none yet'}")
    return found


def champion_version(project: str) -> ModelVersion | None:
    """The champion's version in the registry; None where there is none."""
    return aliased(tracking.connect(), project, CHAMPION)


_ASK = """
import sys
import mlflow
import numpy as np

address, channels, dtype = sys.argv[1:]
mask = mlflow.pyfunc.load_model(address).predict(np.zeros((64, 96, int(channels)), dtype))
assert mask.shape[-2:] == (64, 96), f"answers an image of 64 x 96 pixels with a mask of {mask.shape}"
"""


def refusal(address: str, kind: ImageKind) -> str | None:
    """Why a model does not answer an image as others load it: by MLflow, in a process of its own, without pickle; None if it does."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ASK, address, str(kind.channels), np.dtype(kind.dtype).name],
            capture_output=True,
            text=True,
            env=os.environ | {"MLFLOW_TRACKING_URI": tracking.uri(), "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
            timeout=ANSWERS_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"there was no mask after {ANSWERS_S} s"
    if done.returncode == 0:
        return None
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return said[-1] if said else f"its process ended with {done.returncode}"
