"""The model registry: every candidate that was put forward is a version, by its bundle's content: registering it again changes nothing."""

import contextlib
import importlib.metadata
import json
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
from segmodels import atomic, backends, bundle, card, digests, tracking
from segmodels.backends import Backend
from segmodels.errors import BundleError
from segmodels.samples import ImageKind
from segmodels.store import Store

CHAMPION, BEST_EVER = "champion", "best-ever"
"""Aliases: of what is served, and of the best that ever was."""
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
PREVIOUS = "segmodels.previous"
"""Tag of a version: the one that was champion before it was promoted."""
_INTENT = "segmodels.promoting"
"""Tag of the model while its champion changes: what the aliases named before, to put them back if the change is cut short."""
_TEST_SET = "test_set.json"
_BACKEND, _PRECISION = "segmodels.backend", "segmodels.precision"
_BUNDLE = "segmodels.bundle_sha256"


def hashes(store: Store) -> dict[str, str]:
    """The hash of each test image with its labels, by id."""
    test = store.manifest[store.manifest["split"] == "test"]
    return dict(zip(test["id"], test["sha256"], strict=True))


def tested_on(version: ModelVersion) -> dict[str, str]:
    """The test images of the day that a version was registered."""
    mlflow.set_tracking_uri(tracking.uri())
    found: dict[str, str] = mlflow.artifacts.load_dict(f"runs:/{version.run_id}/{_TEST_SET}")
    return found


def registered(
    client: MlflowClient, project: str, folder: Path, best: dict[str, Any], run_id: str, *, tested: dict[str, str]
) -> ModelVersion:
    """The version of this bundle, made if there is none."""
    found = tracking.versions(project, _BUNDLE, best["bundle_sha256"])
    if found:
        return found[0]
    tags = {
        _BUNDLE: best["bundle_sha256"],
        _BACKEND: best["backend"],
        _PRECISION: best["precision"],
        "segmodels.candidate": best["name"],
        "segmodels.dataset_sha256": bundle.load(folder).facts.dataset_sha256,
        "segmodels.dvc_lock_sha256": digests.of_file(Path("dvc.lock")),
        "segmodels.params_sha256": digests.of_file(Path("params.yaml")),
        "segmodels.git_commit": bundle.load(folder).facts.git_commit or "unknown",
    }
    client.log_dict(run_id, tested, _TEST_SET)
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
        BundleError: it is damaged, or is not the one that was registered.
    """
    if folder.is_dir():
        with contextlib.suppress(BundleError):  # damaged, or what is left of another registry
            held = bundle.load(folder)
            if held.sha256 == version.tags[_BUNDLE]:
                return held
        shutil.rmtree(folder)
    with tempfile.TemporaryDirectory() as fetched, atomic.folder(folder) as partial:
        mlflow.set_tracking_uri(tracking.uri())
        mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}", dst_path=fetched)
        [facts] = Path(fetched).rglob(bundle.FACTS)
        shutil.copytree(facts.parent, partial, dirs_exist_ok=True)
    held = bundle.load(folder)
    if held.sha256 != version.tags[_BUNDLE]:
        raise BundleError(
            f"version {version.version} of {version.name} is not the bundle that was registered (sha256 {version.tags[_BUNDLE][:12]}, "
            f"found {held.sha256[:12]}); promote another version"
        )
    return held


def champion_version(project: str) -> ModelVersion | None:
    """The champion's version in the registry; None where there is none."""
    return aliased(tracking.connect(), project, CHAMPION)


def promote(
    client: MlflowClient, project: str, version: str, kind: ImageKind, *, previous: str | None = None, best_ever: bool = False
) -> str | None:
    """Make a version champion, if it answers as MLflow loads it; returns why it does not, and then nothing has changed.

    Args:
        kind: of the images that it is asked about.
        previous: the version that is to be gone back to from it.
        best_ever: whether it is the best champion that ever was, too.
    """
    before = {alias: _number(aliased(client, project, alias)) for alias in (CHAMPION, BEST_EVER)}
    client.set_registered_model_tag(project, _INTENT, json.dumps(before))
    client.set_registered_model_alias(project, CHAMPION, version)
    wrong = refusal(f"models:/{project}@{CHAMPION}", kind)
    if wrong is None:
        if previous is not None:
            client.set_model_version_tag(project, version, PREVIOUS, previous)
        if best_ever:
            client.set_registered_model_alias(project, BEST_EVER, version)
        client.delete_registered_model_tag(project, _INTENT)
    else:
        reconcile(client, project)
    return wrong


def reconcile(client: MlflowClient, project: str) -> None:
    """Put the aliases back where a change of the champion was cut short: nobody has seen that version answer."""
    try:
        intent = client.get_registered_model(project).tags.get(_INTENT)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # nothing was registered yet
            return
        raise
    if intent is None:
        return
    for alias, version in json.loads(intent).items():
        if version is not None:
            client.set_registered_model_alias(project, alias, version)
        elif aliased(client, project, alias) is not None:
            client.delete_registered_model_alias(project, alias)
    client.delete_registered_model_tag(project, _INTENT)


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
    done = subprocess.run(
        [sys.executable, "-c", _ASK, address, str(kind.channels), np.dtype(kind.dtype).name],
        capture_output=True,
        text=True,
        env=os.environ | {"MLFLOW_TRACKING_URI": tracking.uri(), "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        check=False,
    )
    if done.returncode == 0:
        return None
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return said[-1] if said else f"its process ended with {done.returncode}"


def _number(version: ModelVersion | None) -> str | None:
    return None if version is None else str(version.version)


def aliased(client: MlflowClient, project: str, alias: str) -> ModelVersion | None:
    """The version that an alias names; None where it names none."""
    try:
        return client.get_model_version_by_alias(project, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # no model, or no alias
            return None
        raise
