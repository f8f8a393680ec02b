"""What versions of the registry score on the test images of today, as they serve, and what the champion scored on those of the last decision."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from flows import registry
from segmodels import tracking
from segmodels.annotations import is_background
from segmodels.errors import BundleError
from segmodels.gate import Scored
from segmodels.predict import Predictor
from segmodels.samples import Part, trained
from segmodels.scoring import score_shared
from segmodels.store import Store

_COUNTS = "test_counts"
"""Folder of a run's artifacts: the counts of a decision's test images, by version."""
_COUNTED = "segmodels.counted"
"""Tag of a version: the run that has the latest of them."""


@dataclass(frozen=True)
class Opponent:
    """A version on the images of today, and the dataset's classes that it knows: logged scores are of another day's images."""

    version: str
    scored: Scored
    classes: list[str]
    images: pd.DataFrame


def of_today(version: ModelVersion, store: Store, *, part: Part = "test", among: Sequence[str] | None = None) -> Opponent | str:
    """One of the registry on a part of the dataset; why it cannot be compared, if it cannot.

    Args:
        among: of these classes alone.
    """
    with tempfile.TemporaryDirectory() as work:
        try:
            held = registry.fetch(version, Path(work) / "bundle")
            if held.kind != store.kind or (held.facts.task == "multilabel") != store.labels.overlap:
                return "is for another task, or for images of another kind, than the dataset has now"
            known = {one.name for one in trained(held.classes) if among is None or one.name in among}
            shared = [one.name for one in trained(store.classes) if one.name in known]
            if all(is_background(name) for name in shared):
                return "knows none of the classes that the dataset has now"
            images = counted(store, Predictor(held, registry.backend_of(version, held)), shared, part)
            number = str(version.version)
            return Opponent(number, Scored.of(f"version {number}", images, len(shared)), shared, images)
        except BundleError as error:
            return f"cannot be used: {error}"


def counted(store: Store, predictor: Predictor, shared: Sequence[str], part: Part = "test") -> pd.DataFrame:
    """A model's counts on a part's images, of the classes that it shares with another, in the order of the images' ids."""
    return score_shared(store, predictor, shared, part).sort_values("id", ignore_index=True)


def remember(
    client: MlflowClient,
    run_id: str,
    project: str,
    version: str,
    *,
    classes: Sequence[str],
    images: pd.DataFrame,
    test_sha256: str,
) -> None:
    """Keep in a decision's run what a version has scored in it, and with the version where that is."""
    images.attrs |= {"classes": list(classes), "test_sha256": test_sha256}
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / f"{version}.parquet"
        images.to_parquet(path, index=False)
        client.log_artifact(run_id, str(path), _COUNTS)
    client.set_model_version_tag(project, version, _COUNTED, run_id)


def of_then(champion: ModelVersion, *, classes: Sequence[str], test_sha256: str) -> Scored | None:
    """The champion on the images and labels that it was last compared on; None where those are the same, or it knew other classes."""
    run_id = champion.tags.get(_COUNTED)
    if run_id is None:
        return None
    mlflow.set_tracking_uri(tracking.uri())
    with tempfile.TemporaryDirectory() as work:
        try:
            path = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{_COUNTS}/{champion.version}.parquet", dst_path=work)
        except (MlflowException, OSError):  # attribution is worth no failed decision
            return None
        images = pd.read_parquet(path)
    if images.attrs.get("classes") != list(classes) or images.attrs.get("test_sha256") == test_sha256:
        return None
    return Scored.of(f"version {champion.version}", images, len(classes))
