"""Promotion: what the gate decides from is gathered, and what it decides is done, noted and told."""

import json
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from flows import aliases, cleaning, opponents, registry, reproduction, vault
from flows.opponents import Opponent
from flows.snapshot import Tree
from flows.standing import Decision, decision_key
from segmodels import bundle, console, gate, locks, receipt, records, tracking, versions
from segmodels.counts import parts, read_counts
from segmodels.errors import BundleError
from segmodels.gate import Rules, Scored, Verdict
from segmodels.predict import Predictor
from segmodels.project import LOCKS
from segmodels.records import BEST_EVER, CHAMPION, DATASET, DECISION, LEFT, PREVIOUS, VERDICT
from segmodels.samples import ImageKind, trained
from segmodels.store import Store
from segmodels.versions import Difference


@dataclass(frozen=True)
class Case:
    """What is decided about, and what by.

    Attributes:
        best: the entry of the leaderboard of the candidate that is put forward.
        settings: the section `gate` of params.yaml.
        counted: the folder that `evaluate` wrote the candidate's counts into.
        reports: where the receipt is written.
        run_id: the MLflow run that the candidate's version belongs to.
        made_from: the working tree when the retraining began; None where git does not tell.
        today: the day on which it is decided: the vault may be asked some times a year.
    """

    project: str
    best: dict[str, Any]
    test_sha256: str
    settings: dict[str, Any]
    bundle_folder: Path
    prepared: Path
    counted: Path
    reports: Path
    run_id: str
    made_from: Tree | None
    today: date

    @property
    def rests_on(self) -> dict[str, Any]:
        """What a decision rests on but for the champion."""
        return {"bundle_sha256": self.best["bundle_sha256"], "test_sha256": self.test_sha256, "gate": self.settings}


def decide(case: Case) -> Decision:
    """Register the candidate that is put forward unless its bundle is registered, and make it champion if it passes the gate.

    Writes `promotion.json` and `promotion.md`, the receipt, into the reports and into the MLflow run.
    """
    client, project, store = tracking.connect(), case.project, Store(case.prepared)
    # an alias is no compare-and-swap: in this folder one process decides at a time
    with locks.held(LOCKS / f"registry-{project}", on_wait=_wait):
        aliases.reconcile(client, project)
        if case.made_from is not None:
            reproduction.keep(client, case.run_id, case.made_from)
        cleaning.note(project)
        version = registry.registered(client, project, case.bundle_folder, case.best, case.run_id)
        champion = aliases.aliased(client, project, CHAMPION)
        previous, number = None if champion is None else str(champion.version), str(version.version)
        verdict = _verdict(client, case, store, version, champion)
        learned = None if champion is None else _learned_since(case.project, store, champion)
        tell = partial(_tell, client, case, version=number, champion=previous, learned=learned)
        tell(verdict)
        key = "" if verdict.vault == "closed" else decision_key(case.best["bundle_sha256"], case.test_sha256, case.settings)
        if verdict.outcome == "promote" and previous != number:
            carried_out = _carry_out(client, case, number, verdict, previous=previous, kind=store.kind)
            if carried_out is not verdict:
                verdict, key = carried_out, ""  # it is to be asked again
                tell(verdict)
        if verdict.outcome == "promote":
            names = [one.name for one in trained(store.classes)]
            _remember(client, case, number, classes=names, images=read_counts(case.counted))
        for name, value in _noted(verdict, number).items():
            client.set_model_version_tag(project, number, name, value)
        # the key comes last: a decision that was cut short is made again
        client.set_model_version_tag(project, number, DECISION, key)
    return Decision(verdict.outcome, verdict.reason, number)


def _verdict(client: MlflowClient, case: Case, store: Store, version: ModelVersion, champion: ModelVersion | None) -> Verdict:
    """What is decided, of a test set that is the one of before or may be another; what it was decided by is remembered."""
    tested = registry.hashes(store)
    if champion is not None:
        moved = _moved_test_set(client, case.project, store, tested, case.settings["test_set"])
        if moved is not None:
            return moved
    verdict, against = _judge(client, case, store, version, champion)
    registry.remember_test_set(client, case.project, case.run_id, tested)
    if against is not None:
        _remember(client, case, against.version, classes=against.classes, images=against.images)
    return verdict


def _remember(client: MlflowClient, case: Case, version: str, *, classes: list[str], images: pd.DataFrame) -> None:
    opponents.remember(client, case.run_id, case.project, version, classes=classes, images=images, test_sha256=case.test_sha256)


def _carry_out(
    client: MlflowClient, case: Case, number: str, verdict: Verdict, *, previous: str | None, kind: ImageKind
) -> Verdict:
    """Make a version champion; returns the verdict, or what became of it: then nothing has changed."""
    project, name = case.project, case.best["name"]
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


def _tell(
    client: MlflowClient, case: Case, verdict: Verdict, *, version: str, champion: str | None, learned: Difference | None
) -> None:
    for path in receipt.write(
        case.reports,
        verdict,
        project=case.project,
        version=version,
        champion=champion,
        learned=learned,
        rests_on=case.rests_on,
    ):
        client.log_artifact(case.run_id, str(path))


def _learned_since(project: str, store: Store, champion: ModelVersion) -> Difference | None:
    """What the dataset has that it had not when the champion was trained; None where that is not on record any more.

    Nobody decides by it: that it cannot be read is worth no failed decision.
    """
    names = [one.name for one in trained(store.classes)]
    try:
        then = records.prepared_as(project, champion.tags[DATASET])
        return None if then is None else versions.compare(then.manifest, store.manifest, (then.class_names, names))
    except (*tracking.FAILURES, KeyError, ValueError):
        return None


def _judge(
    client: MlflowClient, case: Case, store: Store, version: ModelVersion, champion: ModelVersion | None
) -> tuple[Verdict, Opponent | None]:
    """What the gate says, and before it, whether there is anything to compare; and what was compared with."""
    best, name = case.best, case.best["name"]
    broken = broken_floors(best, case.settings)
    if broken:
        return Verdict("refused", "; ".join(broken)), None
    if champion is not None and champion.version == version.version:
        told = _of_one_cut_short(version) or f"{name} is the champion already, with test mIoU {best['miou']:.4f}"
        return Verdict("promote", told), None
    if version.tags.get(LEFT):
        return Verdict(
            "keep",
            f"{name} is version {version.version}, which was rolled back from; `make rollback VERSION={version.version}` brings it back",
        ), None
    if champion is None:
        return Verdict("promote", f"{name} is the first champion, with test mIoU {best['miou']:.4f}"), None
    best_ever = aliases.aliased(client, case.project, BEST_EVER)
    against, anchor = opponents.of_today(champion, store), None
    if best_ever is not None and best_ever.version not in (champion.version, version.version):
        anchor = opponents.of_today(best_ever, store)
    if isinstance(against, str):
        if anchor is None or isinstance(anchor, str):
            return Verdict("promote", f"{name} replaces version {champion.version}, which {against}"), None
        against, anchor, champion = anchor, None, best_ever or champion
    verdict = _compared(case, store, version, against, anchor if isinstance(anchor, Opponent) else None, champion)
    if verdict.outcome == "promote" and store.rows("vault"):
        verdict = _as_the_vault_has_it(client, case, store, verdict, version, champion)
    return verdict, against


def _of_one_cut_short(version: ModelVersion) -> str | None:
    """Why a version was made champion, where that decision did not come to its end: making it again is no other reason."""
    if DECISION in version.tags or VERDICT not in version.tags:
        return None
    return str(json.loads(version.tags[VERDICT])["reason"])


def _compared(
    case: Case, store: Store, version: ModelVersion, against: Opponent, anchor: Opponent | None, champion: ModelVersion
) -> Verdict:
    """What the gate says of a candidate on the test images, on the classes that both know."""
    name, names, shared = case.best["name"], [one.name for one in trained(store.classes)], against.classes
    images = read_counts(case.counted)
    challenger = Scored.of(name, images, len(names))
    if shared != names:
        held = bundle.load(case.bundle_folder)
        predictor = Predictor(held, registry.backend_of(version, held))
        challenger = Scored.of(name, opponents.counted(store, predictor, shared), len(shared))
    before = opponents.of_then(champion, classes=names, test_sha256=case.test_sha256) if shared == names else None
    verdict = gate.decide(
        challenger,
        against.scored,
        classes=shared,
        images=images["id"].tolist(),
        scenes=images["scene"].tolist(),
        slices={f"{by} {part}": inside for by, found in parts(images).items() for part, inside in found.items()},
        before=before,
        best=anchor.scored if anchor is not None and anchor.classes == shared else None,
        rules=Rules.of(case.settings),
    )
    if shared != names:
        others = ", ".join(one for one in names if one not in shared)
        verdict = replace(verdict, reason=f"{verdict.reason}; compared on the classes that both know: {others} is new")
    return verdict


def _as_the_vault_has_it(
    client: MlflowClient, case: Case, store: Store, verdict: Verdict, version: ModelVersion, champion: ModelVersion
) -> Verdict:
    """A promotion by the test images, if the vault bears it out."""
    rules = Rules.of(case.settings)
    try:
        passed = vault.passes(client, case.project, version, champion, store=store, rules=rules, today=case.today)
    except vault.Closed as closed:
        return replace(verdict, outcome="inconclusive", reason=f"{verdict.reason}; but {closed}", vault="closed")
    if passed:
        return replace(verdict, reason=f"{verdict.reason}; the vault bears it out", vault="passed")
    return replace(verdict, outcome="keep", reason=f"{verdict.reason}; but the vault does not bear it out", vault="failed")


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
