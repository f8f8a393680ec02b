"""Promotion: what the gate decides from is gathered, and what it decides is done, noted and told."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from flows import registry
from flows.registry import BEST_EVER, CHAMPION
from flows.standing import DECISION, VERDICT, Decision, decision_key
from segmodels import gate, locks, receipt, tracking
from segmodels.bundle import Bundle
from segmodels.counts import parts, read_counts
from segmodels.errors import BundleError
from segmodels.gate import Rules, Scored, Verdict
from segmodels.predict import Predictor
from segmodels.project import LOCKS
from segmodels.samples import trained
from segmodels.scoring import score
from segmodels.store import Store


def decide(
    project: str,
    *,
    best: dict[str, Any],
    test_sha256: str,
    settings: dict[str, Any],
    bundle_folder: Path,
    prepared: Path,
    counted: Path,
    reports: Path,
    run_id: str,
) -> Decision:
    """Register the candidate that is put forward unless its bundle is registered, and make it champion if it passes the gate.

    Writes `promotion.json` and `promotion.md`, the receipt, into `reports` and into the MLflow run.

    Args:
        best: the candidate's entry of the leaderboard.
        settings: the section `gate` of params.yaml.
        counted: the folder that `evaluate` wrote the candidate's counts into.
        run_id: the MLflow run that the version belongs to.
    """
    client, store = tracking.connect(), Store(prepared)
    # an alias is no compare-and-swap: only one process of this machine decides at a time
    with locks.held(LOCKS / f"registry-{project}"):
        registry.reconcile(client, project)
        version = registry.registered(client, project, bundle_folder, best, run_id, tested=registry.hashes(store))
        champion = registry.aliased(client, project, CHAMPION)
        best_ever = registry.aliased(client, project, BEST_EVER)
        verdict = _judge(best, version, champion, best_ever, settings=settings, store=store, counted=counted)
        previous, number = None if champion is None else str(champion.version), str(version.version)
        tell = partial(_tell, client, run_id, reports, project=project, version=number, champion=previous)
        tell(verdict)
        answers = True
        if verdict.outcome == "promote" and previous != number:
            best_ever_now = verdict.anchor is None or verdict.anchor.difference >= 0
            wrong = registry.promote(client, project, number, store.kind, previous=previous, best_ever=best_ever_now)
            if wrong is not None:
                answers, reason = False, f"{best['name']} does not answer as MLflow loads it: {wrong}"
                verdict = replace(verdict, outcome="refused", reason=reason)
                tell(verdict)
        decision = Decision(verdict.outcome, verdict.reason, number)
        client.set_model_version_tag(project, number, VERDICT, json.dumps(asdict(decision)))
        if answers:  # else it is to be asked again
            # the key comes last: a decision that was cut short is made again
            client.set_model_version_tag(project, number, DECISION, decision_key(best["bundle_sha256"], test_sha256, settings))
    return decision


def _tell(
    client: MlflowClient, run_id: str, reports: Path, verdict: Verdict, *, project: str, version: str, champion: str | None
) -> None:
    for path in receipt.write(reports, verdict, project=project, version=version, champion=champion):
        client.log_artifact(run_id, str(path))


def _judge(
    best: dict[str, Any],
    version: ModelVersion,
    champion: ModelVersion | None,
    best_ever: ModelVersion | None,
    *,
    settings: dict[str, Any],
    store: Store,
    counted: Path,
) -> Verdict:
    """What the gate says, and before it, whether there is anything to compare."""
    name = best["name"]
    if champion is not None and champion.version == version.version:
        return Verdict("promote", f"{name} is the champion already, with test mIoU {best['miou']:.4f}")
    broken = broken_floors(best, settings)
    if broken:
        return Verdict("refused", "; ".join(broken))
    if champion is None:
        return Verdict("promote", f"{name} is the first champion, with test mIoU {best['miou']:.4f}")
    digest, accepted = store.digest("test"), settings["test_set"]
    moved = _moved(registry.tested_on(champion), registry.hashes(store))
    if moved and not (accepted and digest.startswith(accepted)):
        return Verdict(
            "keep",
            f"the test set is not that of the champion (version {champion.version}) any more: {moved}; nothing is promoted on it until "
            f"gate.test_set: {digest[:16]} in params.yaml says that it is meant to be so",
        )
    images, _ = read_counts(counted)
    images = images.sort_values("id")
    try:
        against = _scored(champion, store, images["id"].tolist())
    except BundleError as error:
        return Verdict("promote", f"{name} replaces version {champion.version}, which cannot be used: {error}")
    if against is None:
        return Verdict(
            "promote",
            f"{name} replaces version {champion.version}, which knows other classes, or images of another kind, than the dataset has now",
        )
    anchor = None
    if best_ever is not None and best_ever.version not in (champion.version, version.version):
        anchor = _scored(best_ever, store, images["id"].tolist())
    num_classes = len(trained(store.classes))
    return gate.decide(
        Scored.of(name, images, num_classes),
        against,
        classes=[one.name for one in trained(store.classes)],
        scenes=images["scene"].tolist(),
        slices={f"{by} {part}": inside for by, found in parts(images).items() for part, inside in found.items()},
        best=anchor,
        rules=Rules.of(settings),
    )


def broken_floors(best: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """What of the absolute floors a candidate's scores do not reach, in sentences."""
    name, broken = best["name"], []
    if best["miou"] < settings["min_miou"]:
        broken.append(f"{name} has test mIoU {best['miou']:.4f}, below gate.min_miou {settings['min_miou']}")
    for key, measured, unit in (("max_latency_ms", "latency_ms", "ms an image"), ("max_memory_mb", "peak_memory_mb", "MB")):
        if settings[key] is not None and best[measured] > settings[key]:
            broken.append(f"{name} takes {best[measured]:.1f} {unit}, above gate.{key} {settings[key]}")
    return broken


def _scored(version: ModelVersion, store: Store, ids: Sequence[str]) -> Scored | None:
    """A version on the test images of today, as it serves; None if it is of other classes or images than the dataset.

    Logged scores are of another day's images.

    Raises:
        BundleError: it cannot be loaded, or predicts no numbers.
    """
    with tempfile.TemporaryDirectory() as work:
        held = registry.fetch(version, Path(work) / "bundle")
        if not _fits(held, store):
            return None
        images = score(store, Predictor(held, registry.backend_of(version, held))).sort_values("id")
    assert images["id"].tolist() == list(ids)
    return Scored.of(f"version {version.version}", images, len(trained(store.classes)))


def _fits(held: Bundle, store: Store) -> bool:
    names = [one.name for one in trained(held.classes)]
    same_task = (held.facts.task == "multilabel") == store.labels.overlap
    return names == [one.name for one in trained(store.classes)] and held.kind == store.kind and same_task


def _moved(before: dict[str, str], now: dict[str, str]) -> str:
    """What has become of test images that were there before, in words; empty where all are as they were. New ones are no change."""
    changed = sorted(name for name in before.keys() & now.keys() if before[name] != now[name])
    gone = sorted(before.keys() - now.keys())
    found = [
        f"{len(names)} images {what} ({', '.join(names[:5])})"
        for what, names in (("changed", changed), ("left it", gone))
        if names
    ]
    return " and ".join(found)
