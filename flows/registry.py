"""The model registry: every best candidate becomes a version; one that passes the gate becomes `champion`.

Registration is keyed by the bundle's content and the decision by what it rests on, so that doing either again changes nothing.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

import segmodels
from segmodels import atomic, backends, bundle, card, digests, locks, tracking
from segmodels.backends import Backend
from segmodels.counts import summarise
from segmodels.errors import BundleError
from segmodels.predict import Predictor
from segmodels.project import LOCKS
from segmodels.samples import trained
from segmodels.scoring import score
from segmodels.store import Store

CHAMPION = "champion"
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
_TEST_SET = "test_set.json"
_BACKEND, _PRECISION = "segmodels.backend", "segmodels.precision"
_BUNDLE, _DECISION = "segmodels.bundle_sha256", "segmodels.decision"


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a version, and why, in one sentence."""

    decision: Literal["promote", "keep"]
    reason: str
    version: str


def decision_key(bundle_sha256: str, test_sha256: str, gate: dict[str, Any]) -> str:
    """Of everything that a decision rests on, but for the champion: that a person has rolled back is no reason to promote again."""
    return hashlib.sha256(json.dumps([bundle_sha256, test_sha256, gate], sort_keys=True).encode()).hexdigest()


def decided(project: str, key: str) -> Verdict | None:
    """The verdict of this decision if it has been made."""
    client = tracking.connect()
    for version in _versions(client, project, _DECISION, key):
        return Verdict(**json.loads(version.tags["segmodels.verdict"]))
    return None


def decide(
    project: str,
    *,
    best: dict[str, Any],
    test_sha256: str,
    gate: dict[str, Any],
    bundle_folder: Path,
    prepared: Path,
    run_id: str,
) -> Verdict:
    """Register the best candidate unless its bundle is registered, and make it champion if it passes the gate.

    Args:
        best: the candidate's entry of the leaderboard.
        gate: `min_miou`, `min_gain` and `test_set` of params.yaml.
        run_id: the MLflow run that the version belongs to.
    """
    client = tracking.connect()
    # an alias is no compare-and-swap: only one process of this machine decides at a time
    with locks.held(LOCKS / f"registry-{project}"):
        version = _registered(client, project, bundle_folder, best, run_id, tested_on=_hashes(Store(prepared)))
        champion = _champion(client, project)
        decision, reason = _judge(best, champion, version, gate=gate, prepared=prepared)
        verdict = Verdict(decision, reason, str(version.version))
        if decision == "promote" and (champion is None or champion.version != version.version):
            client.set_registered_model_alias(project, CHAMPION, version.version)
        # the key comes last: a decision that was cut short is made again
        client.set_model_version_tag(project, version.version, "segmodels.verdict", json.dumps(asdict(verdict)))
        key = decision_key(best["bundle_sha256"], test_sha256, gate)
        client.set_model_version_tag(project, version.version, _DECISION, key)
    return verdict


def _judge(
    best: dict[str, Any], champion: ModelVersion | None, version: ModelVersion, *, gate: dict[str, Any], prepared: Path
) -> tuple[Literal["promote", "keep"], str]:
    """The gate: an absolute floor, then at least the champion's own score on the same images plus the required gain."""
    name, miou = best["name"], best["miou"]
    if miou < gate["min_miou"]:
        return "keep", f"{name} has test mIoU {miou:.4f}, below gate.min_miou {gate['min_miou']}"
    if champion is None:
        return "promote", f"{name} is the first champion, with test mIoU {miou:.4f}"
    if champion.version == version.version:
        return "promote", f"{name} is the champion already, with test mIoU {miou:.4f}"
    store = Store(prepared)
    digest, accepted = store.digest("test"), gate["test_set"]
    moved = _moved(_tested_on(champion), _hashes(store))
    if moved and not (accepted and digest.startswith(accepted)):
        return "keep", (
            f"the test set is not that of the champion (version {champion.version}) any more: {moved}; nothing is promoted on it until "
            f"gate.test_set: {digest[:16]} in params.yaml says that it is meant to be so"
        )
    classes = [one.name for one in trained(store.classes)]
    with tempfile.TemporaryDirectory() as work:
        held = fetch(champion, Path(work) / "bundle")
        if (
            [one.name for one in trained(held.classes)] != classes
            or held.kind != store.kind
            or (held.facts.task == "multilabel") != store.labels.overlap
        ):
            return "promote", (
                f"{name} replaces version {champion.version}, which knows other classes, or images of another kind, than the dataset "
                f"has now"
            )
        # logged numbers are of another day's images: the champion is scored again
        images = score(store, Predictor(held, backend_of(champion, held)))
    champion_miou = summarise(images, trained(store.classes), overlap=store.labels.overlap)["miou"]
    against = f"{name} has test mIoU {miou:.4f}, champion (version {champion.version}) {champion_miou:.4f} on the same images"
    if miou > champion_miou and miou >= champion_miou + gate["min_gain"]:
        return "promote", against
    return "keep", f"{against}; gate.min_gain is {gate['min_gain']}"


def _hashes(store: Store) -> dict[str, str]:
    """The hash of each test image with its labels, by id."""
    test = store.manifest[store.manifest["split"] == "test"]
    return dict(zip(test["id"], test["sha256"], strict=True))


def _tested_on(version: ModelVersion) -> dict[str, str]:
    """The test images of the day that a version was registered."""
    mlflow.set_tracking_uri(tracking.uri())
    found: dict[str, str] = mlflow.artifacts.load_dict(f"runs:/{version.run_id}/{_TEST_SET}")
    return found


def _moved(before: dict[str, str], now: dict[str, str]) -> str:
    """What has become of test images that were there before, in words; empty where all are as they were. New ones are no change."""
    changed = sorted(name for name in before.keys() & now.keys() if before[name] != now[name])
    gone = sorted(before.keys() - now.keys())
    parts = [
        f"{len(names)} images {what} ({', '.join(names[:5])})"
        for what, names in (("changed", changed), ("left it", gone))
        if names
    ]
    return " and ".join(parts)


def _registered(
    client: MlflowClient, project: str, folder: Path, best: dict[str, Any], run_id: str, *, tested_on: dict[str, str]
) -> ModelVersion:
    """The version of this bundle, made if there is none."""
    found = _versions(client, project, _BUNDLE, best["bundle_sha256"])
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
    client.log_dict(run_id, tested_on, _TEST_SET)
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
    return _champion(tracking.connect(), project)


def _champion(client: MlflowClient, project: str) -> ModelVersion | None:
    try:
        return client.get_model_version_by_alias(project, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # no model, or no alias
            return None
        raise


def _versions(client: MlflowClient, project: str, tag: str, value: str) -> list[ModelVersion]:
    return list(client.search_model_versions(f"name = '{project}' and tags.`{tag}` = '{value}'"))
