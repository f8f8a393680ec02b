"""What stands since the last retraining: its leaderboard, what was decided, and whether anything that they rest on has changed.

A decision is keyed by what it rests on, so that making it again changes nothing. Imports little: with nothing to do a retraining is to end
in seconds.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from flows import aliases, stage_graph, versioned
from segmodels import digests, locks, tracking
from segmodels.errors import BundleError
from segmodels.params import Params
from segmodels.project import BUNDLES, LOCKS, RAW, REPORTS
from segmodels.records import DECISION, VERDICT


@dataclass(frozen=True)
class Decision:
    """What became of a version, and why, in one sentence."""

    outcome: str
    reason: str
    version: str


def decision_key(bundle_sha256: str, test_sha256: str, settings: dict[str, Any]) -> str:
    """Of everything that a decision rests on, but for the champion: that a person has rolled back is no reason to promote again."""
    return hashlib.sha256(json.dumps([bundle_sha256, test_sha256, settings], sort_keys=True).encode()).hexdigest()


def decided(project: str, key: str) -> Decision | None:
    """What this decision came to if it has been made."""
    for version in tracking.versions(project, DECISION, key):
        return Decision(**json.loads(version.tags[VERDICT]))
    return None


def read_leaderboard() -> dict[str, Any]:
    """What `compare` wrote."""
    leaderboard: dict[str, Any] = json.loads((REPORTS / "leaderboard.json").read_text(encoding="utf-8"))
    return leaderboard


def put_forward(leaderboard: dict[str, Any]) -> dict[str, Any]:
    """The entry of the candidate that `compare` chose."""
    [chosen] = [one for one in leaderboard["candidates"] if one["name"] == leaderboard["chosen"]]
    return dict(chosen)


def begun_from_files(settings: Params) -> dict[str, bool]:
    """The trainings that begin from a weights file, of which DVC watches only the name; true where it holds something else by now."""
    files = {name: one.weights for name, one in settings.candidates.items() if one.weights not in (None, "imagenet")}
    return {f"train@{name}": _differs(name, weights) for name, weights in files.items() if weights is not None}


def _differs(candidate: str, weights: str) -> bool:
    from segmodels import bundle  # which takes seconds

    now = digests.of_weights(weights)
    try:
        then = bundle.read_facts(BUNDLES / candidate).training["weights"]
    except BundleError:  # there is none to say: that is DVC's to find
        then = now
    # a file that is gone is missed when a training is due that needs it
    return now != then and Path(weights).is_file()


def unchanged(settings: Params) -> Decision | None:
    """The decision that stands when neither the dataset nor anything else that a stage depends on has changed; else None.

    Raises:
        InputError: MLflow cannot be reached.
    """
    if versioned.version_dataset(RAW) or stage_graph.stale(begun_from_files(settings)):
        return None
    leaderboard = read_leaderboard()
    best = put_forward(leaderboard)
    key = decision_key(best["bundle_sha256"], leaderboard["test_sha256"], settings.gate.model_dump())
    try:
        put_back(settings.project)
        return decided(settings.project, key)
    except MlflowException as error:
        raise tracking.unusable(error) from error


def put_back(project: str) -> None:
    """Undo a change of the champion that was cut short."""
    with locks.held(LOCKS / f"registry-{project}"):
        aliases.reconcile(tracking.connect(), project)
