"""Trainings of seconds, of a small network on drawn images."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from segmodels.objective import Term
from segmodels.optimization import Optimization
from segmodels.plan import Plan, Settings
from segmodels.train import Places, train

SIZE = (32, 64)


def plan(**changed: Any) -> Plan:
    training: dict[str, Any] = {"size_px": SIZE, "epochs": 1, "batch_size": 1, "seed": 0}
    return Plan(
        candidate="unet",
        architecture="unet",
        encoder="resnet18",
        weights=None,
        options={"decoder_channels": [16, 8]},
        loss=[Term("cross_entropy", {})],
        schedule="poly",
        schedule_options={},
        optimization=Optimization(learning_rate=0.0, weight_decay=0.01),
        settings=Settings(**(training | changed)),
    )


def trained(prepared: Path, augmented: Path, out: Path, **changed: Any) -> dict[str, Any]:
    """Train a small PSPNet; returns its log. `changed` are fields of the plan, values of `training:` or keywords of `train`."""

    def taken(defaults: dict[str, Any], *kinds: type) -> dict[str, Any]:
        return defaults | {one.name: changed.pop(one.name) for kind in kinds for one in fields(kind) if one.name in changed}

    training: dict[str, Any] = {"size_px": SIZE, "epochs": 3, "batch_size": 4, "precision": "fp32", "seed": 0}
    chosen: dict[str, Any] = {
        "candidate": "psp",
        "architecture": "pspnet",
        "encoder": "resnet18",
        "weights": None,
        "options": {"channels": 32, "depth": 2},
        "loss": [Term("cross_entropy", {})],
        "schedule": "poly",
        "schedule_options": {},
    }
    training = taken(training | {"learning_rate": 0.002, "weight_decay": 0.01}, Optimization, Settings)
    plan = Plan.of(training=training, **taken(chosen, Plan))
    places = Places(prepared, augmented, out / "bundle", out / "log.json", out / "checkpoints", out / "locks")
    train(plan, places, **{"export": "none"} | changed)
    log: dict[str, Any] = json.loads((out / "log.json").read_text())
    return log


def lost_power(at: int) -> Callable[[int], None]:
    def act(step: int) -> None:
        if step == at:
            raise RuntimeError("the power went")

    return act
