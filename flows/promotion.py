"""Promotion: what the gate decides from is gathered, and what it decides is done, noted and told."""

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from flows import aliases, cleaning, opponents, registry, reproduction
from flows.aliases import BEST_EVER, CHAMPION
from flows.opponents import Opponent
from flows.snapshot import Tree
from flows.standing import DECISION, LEFT, PREVIOUS, VERDICT, Decision, decision_key
from segmodels import bundle, console, gate, locks, receipt, tracking
from segmodels.counts import parts, read_counts
from segmodels.errors import BundleError
from segmodels.gate import Rules, Scored, Verdict
from segmodels.predict import Predictor
from segmodels.project import LOCKS
from segmodels.samples import ImageKind, trained
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
    made_from: Tree | None,
) -> Decision:
    """Register the candidate that is put forward unless its bundle is registered, and make it champion if it passes the gate.

    Writes `promotion.json` and `promotion.md`, the receipt, into `reports` and into the MLflow run.

    Args:
        best: the candidate's entry of the leaderboard.
        settings: the section `gate` of params.yaml.
        counted: the folder that `evaluate` wrote the candidate's counts into.
        run_id: the MLflow run that the version belongs to.
        made_from: the working tree when the retraining began; None where git does not tell.
    """
    client, store = tracking.connect(), Store(prepared)
    # an alias is no compare-and-swap: in this folder one process decides at a time
    with locks.held(LOCKS / f"registry-{project}", on_wait=_wait):
        aliases.reconcile(client, project)
        if made_from is not None:
            reproduction.keep(client, run_id, made_from)
        cleaning.note(project)
        version = registry.registered(client, project, bundle_folder, best, run_id)
        champion = aliases.aliased(client, project, CHAMPION)
        tested = registry.hashes(store)
        names = [one.name for one in trained(store.classes)]
        remember = partial(opponents.remember, client, run_id, project, test_sha256=test_sha256)
        verdict = None if champion is None else _moved_test_set(client, project, store, tested, settings["test_set"])
        if verdict is None:
            before = None if champion is None else opponents.of_then(champion, classes=names, test_sha256=test_sha256)
            verdict, against = _judge(
                best,
                version,
                champion,
                aliases.aliased(client, project, BEST_EVER),
                settings=settings,
                store=store,
                bundle_folder=bundle_folder,
                counted=counted,
                before=before,
            )
            registry.remember_test_set(client, project, run_id, tested)
            if against is not None:
                remember(against.version, classes=against.classes, images=against.images)
        previous, number = None if champion is None else str(champion.version), str(version.version)
        rests_on = {
            "bundle_sha256": best["bundle_sha256"],
            "test_sha256": test_sha256,
            "gate": settings,
        }
        tell = partial(_tell, client, run_id, reports, project=project, version=number, champion=previous, rests_on=rests_on)
        tell(verdict)
        key = decision_key(best["bundle_sha256"], test_sha256, settings)
        if verdict.outcome == "promote" and previous != number:
            carried_out = _carry_out(client, project, number, verdict, previous=previous, kind=store.kind, name=best["name"])
            if carried_out is not verdict:
                verdict, key = carried_out, ""  # it is to be asked again
                tell(verdict)
        if verdict.outcome == "promote":
            remember(number, classes=names, images=read_counts(counted))
        for name, value in _noted(verdict, number).items():
            client.set_model_version_tag(project, number, name, value)
        # the key comes last: a decision that was cut short is made again
        client.set_model_version_tag(project, number, DECISION, key)
    return Decision(verdict.outcome, verdict.reason, number)


def _carry_out(
    client: MlflowClient, project: str, number: str, verdict: Verdict, *, previous: str | None, kind: ImageKind, name: str
) -> Verdict:
    """Make a version champion; returns the verdict, or what became of it: then nothing has changed."""
    now = aliases.aliased(client, project, CHAMPION)
    if now is not None and str(now.version) != previous:  # another folder decides by the same registry
        reason = (
            f"version {now.version} became champion while {name} was compared with the one before; the next retraining asks again"
        )
        return replace(verdict, outcome="keep", reason=reason)
    wrong = aliases.change(
        client,
        project,
        number,
        refusal=lambda: registry.refusal(f"models:/{project}@{CHAMPION}", kind),
        best_ever=verdict.anchor is None or verdict.anchor.difference >= 0,
        tags=({PREVIOUS: previous} if previous else {}) | _noted(verdict, number),
    )
    if wrong is None:
        return verdict
    return replace(verdict, outcome="refused", reason=f"{name} does not answer as MLflow loads it: {wrong}")


def _wait() -> None:
    console.say("another decision about the champion is being made; waiting for it")


def _noted(verdict: Verdict, version: str) -> dict[str, str]:
    """The tag of a version that says what was decided of it."""
    return {VERDICT: json.dumps(asdict(Decision(verdict.outcome, verdict.reason, version)))}


def _tell(client: MlflowClient, run_id: str, reports: Path, verdict: Verdict, **about: Any) -> None:
    for path in receipt.write(reports, verdict, **about):
        client.log_artifact(run_id, str(path))


def _judge(
    best: dict[str, Any],
    version: ModelVersion,
    champion: ModelVersion | None,
    best_ever: ModelVersion | None,
    *,
    settings: dict[str, Any],
    store: Store,
    bundle_folder: Path,
    counted: Path,
    before: Scored | None,
) -> tuple[Verdict, Opponent | None]:
    """What the gate says, and before it, whether there is anything to compare; and what was compared with."""
    name = best["name"]
    broken = broken_floors(best, settings)
    if broken:
        return Verdict("refused", "; ".join(broken)), None
    if champion is not None and champion.version == version.version:
        return Verdict("promote", f"{name} is the champion already, with test mIoU {best['miou']:.4f}"), None
    if version.tags.get(LEFT):
        return Verdict(
            "keep",
            f"{name} is version {version.version}, which was rolled back from; `make rollback VERSION={version.version}` brings it back",
        ), None
    if champion is None:
        return Verdict("promote", f"{name} is the first champion, with test mIoU {best['miou']:.4f}"), None
    names = [one.name for one in trained(store.classes)]
    against, anchor = opponents.of_today(champion, store), None
    if best_ever is not None and best_ever.version not in (champion.version, version.version):
        anchor = opponents.of_today(best_ever, store)
    if isinstance(against, str):
        if anchor is None or isinstance(anchor, str):
            return Verdict("promote", f"{name} replaces version {champion.version}, which {against}"), None
        against, anchor = anchor, None
    images, shared = read_counts(counted), against.classes
    challenger = Scored.of(name, images, len(names))
    if shared != names:
        held = bundle.load(bundle_folder)
        predictor = Predictor(held, registry.backend_of(version, held))
        challenger = Scored.of(name, opponents.counted(store, predictor, shared), len(shared))
    verdict = gate.decide(
        challenger,
        against.scored,
        classes=shared,
        scenes=images["scene"].tolist(),
        slices={f"{by} {part}": inside for by, found in parts(images).items() for part, inside in found.items()},
        before=before if shared == names else None,
        best=anchor.scored if isinstance(anchor, Opponent) and anchor.classes == shared else None,
        rules=Rules.of(settings),
    )
    if shared != names:
        others = ", ".join(one for one in names if one not in shared)
        verdict = replace(verdict, reason=f"{verdict.reason}; compared on the classes that both know: {others} is new")
    return verdict, against


def broken_floors(best: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """What of the absolute floors a candidate's scores do not reach, in sentences."""
    name, broken = best["name"], []
    if best["miou"] < settings["min_miou"]:
        broken.append(f"{name} has test mIoU {best['miou']:.4f}, below gate.min_miou {settings['min_miou']}")
    for key, measured, unit in (("max_latency_ms", "latency_ms", "ms an image"), ("max_memory_mb", "peak_memory_mb", "MB")):
        if settings[key] is not None and best[measured] > settings[key]:
            broken.append(f"{name} takes {best[measured]:.1f} {unit}, above gate.{key} {settings[key]}")
    return broken


def _moved_test_set(
    client: MlflowClient, project: str, store: Store, tested: dict[str, str], accepted: str | None
) -> Verdict | None:
    """Why nothing may be decided on the test images, if they are not those of the last decision and nobody has said that this is meant."""
    try:
        moved = _moved(registry.test_set(client, project), tested)
    except BundleError as error:
        moved = str(error)
    digest = store.digest("test")
    if not moved or (accepted and digest.startswith(accepted)):
        return None
    return Verdict(
        "keep",
        f"the test set is not that of the last decision any more: {moved}; nothing is promoted on it until gate.test_set: {digest[:16]} in "
        f"params.yaml says that it is meant to be so",
    )


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
