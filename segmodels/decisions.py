"""Replaces every `auto` of a candidate by a value, with its reason: from the dataset, else measured. Seconds, or a minute on a CPU.

What was decided is kept, by the hash of all it was decided from, the machine's device among it: an interrupted training goes on with
the same values, and a repeated one has them too.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segmodels import atomic, batches, checkpoints, device, digests, fingerprint, locks
from segmodels.fingerprint import Decision
from segmodels.objective import Term
from segmodels.plan import Plan
from segmodels.recipes import Recipe
from segmodels.store import Store
from segmodels.trials import Trial

AUTO = "auto"


def settle(
    candidate: str,
    *,
    store: Store,
    recipe_path: Path,
    architecture: str,
    encoder: str,
    weights: str | None,
    options: Mapping[str, Any],
    loss: Sequence[Term],
    schedule: str,
    schedule_options: Mapping[str, Any],
    training: Mapping[str, Any],
    kept: Path,
    gpu_locks: Path,
    notice: Callable[[str], None] = lambda _: None,
) -> tuple[Plan, list[Decision]]:
    """The candidate without any `auto`, and what was decided.

    Args:
        training: of params.yaml, by key.
        kept: the JSON file that keeps the decisions.
        notice: told each decision as a sentence, and beforehand what takes time.
    """
    digest = checkpoints.digest(
        {
            "architecture": [architecture, encoder, weights, dict(options)],
            "loss": [term._asdict() for term in loss],
            "training": dict(training),
            "weights": digests.of_weights(weights),
            "device": device.name(device.default()),
            "dataset": store.sha256,
            "recipe": recipe_path.read_text(encoding="utf-8"),
        }
    )

    def plan(decisions: Sequence[Decision], **unknown: Any) -> Plan:
        settled, terms = _applied(decisions, training, loss)
        return Plan.of(
            candidate=candidate,
            architecture=architecture,
            encoder=encoder,
            weights=weights,
            options=options,
            loss=terms,
            schedule=schedule,
            schedule_options=schedule_options,
            training={key: unknown.get(key, value) if value == AUTO else value for key, value in settled.items()},
        )

    with locks.held(kept.with_suffix(".lock")):
        decisions = _read(kept, digest)
        if decisions is None:
            decisions = _from_dataset(store, weights, loss, training)
            measured = [key for key in ("batch_size", "learning_rate") if training[key] == AUTO]
            if measured:
                notice(f"trying out training.{' and training.'.join(measured)}, which takes some steps")
                with device.claimed(gpu_locks) as [chosen]:
                    trial = Trial(
                        plan=plan(decisions, batch_size=1, learning_rate=0.0),
                        store=store,
                        recipe=Recipe.load(recipe_path),
                        on=chosen,
                        precision=device.precision(training["precision"], chosen),
                    )
                    decisions += _measured(trial, training)
            atomic.write_json(kept, {"inputs_sha256": digest, "decisions": [asdict(one) for one in decisions]})
    for one in decisions:
        notice(f"{one.key} is {json.dumps(one.value)} (auto): {one.reason}")
    return plan(decisions), decisions


def _from_dataset(store: Store, weights: str | None, loss: Sequence[Term], training: Mapping[str, Any]) -> list[Decision]:
    decisions = []
    if training["size_px"] == AUTO:
        decisions.append(fingerprint.decide_size_px(store))
    if training["normalisation"] == AUTO:
        decisions.append(fingerprint.decide_normalisation(weights, store.kind))
    if training["epochs"] == AUTO:
        decisions.append(fingerprint.decide_epochs(store))
    for number, term in enumerate(loss):
        if term.options.get("class_weights") == AUTO:
            decisions.append(fingerprint.decide_class_weights(store, f"loss.{number}.class_weights"))
    return decisions


def _measured(trial: Trial, training: Mapping[str, Any]) -> list[Decision]:
    decisions, batch_size = [], training["batch_size"]
    if batch_size == AUTO:
        decisions.append(trial.decide_batch_size())
        batch_size = decisions[0].value
    if training["learning_rate"] == AUTO:
        batches.refuse_uneven(trial.store, batch_size, trial.plan.settings.devices)
        decisions.append(trial.decide_learning_rate(batches.fitting(trial.store, batch_size)))
    device.free_memory()
    return decisions


def _applied(
    decisions: Sequence[Decision], training: Mapping[str, Any], loss: Sequence[Term]
) -> tuple[dict[str, Any], list[Term]]:
    values = {one.key: one.value for one in decisions}
    settled = {key: values.get(f"training.{key}", value) for key, value in training.items()}
    terms = [
        term._replace(options=term.options | {"class_weights": values[f"loss.{number}.class_weights"]})
        if f"loss.{number}.class_weights" in values
        else term
        for number, term in enumerate(loss)
    ]
    return settled | {"size_px": tuple(settled["size_px"]) if settled["size_px"] != AUTO else AUTO}, terms


def _read(path: Path, digest: str) -> list[Decision] | None:
    """What was decided from the same inputs before."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return [Decision(**one) for one in found["decisions"]] if found["inputs_sha256"] == digest else None
