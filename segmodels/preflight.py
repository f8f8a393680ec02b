"""What params.yaml says of the candidates, tried before any work: an hour of preparing data should not end at a misspelt encoder."""

from pathlib import Path
from typing import Any

import torch

from segmodels import catalog, network, objective
from segmodels.errors import InputError, ParamsError
from segmodels.objective import Term
from segmodels.params import Candidate, Params
from segmodels.samples import num_logits, trained

TRIED_PX = (64, 96)
"""Height and width of the images the networks are tried on: of no size that an encoder would be made for."""
REFUSALS = (ValueError, RuntimeError, TypeError, AssertionError, ArithmeticError, LookupError)
"""How our own parts, torch, smp and timm refuse what does not fit."""


def check(params: Params) -> None:
    """Build every candidate once, at random, have it predict and learn. Files of weights are looked for, nothing is downloaded.

    Raises:
        ParamsError: lists every candidate that cannot be built or does not take images of any size, with the reason.
    """
    problems = []
    for name, candidate in params.candidates.items():
        try:
            _try(candidate, params, params.encoder_of(name))
        except REFUSALS as error:
            problems.append(f"candidates.{name}: {error}")
    for name, recipe in params.augmentations.items():
        try:
            catalog.build("augmentations", recipe.recipe, TRIED_PX, options=recipe.options)
        except ValueError as error:  # ours, and those of albumentations
            problems.append(f"augmentations.{name}: {error}")
    if problems:
        raise ParamsError("\n".join([f"params.yaml: {len(problems)} cannot be built", *(f"  - {one}" for one in problems)]))


def _try(candidate: Candidate, params: Params, encoder: str) -> None:
    if candidate.weights not in (None, "imagenet") and not Path(candidate.weights).is_file():
        raise InputError(
            f"weights: there is no file {candidate.weights}; put it there, or set `weights: null` to train from scratch"
        )
    task = "multiclass" if params.dataset.task == "auto" else params.dataset.task
    classes = params.listed_classes()
    loss = objective.build(task, [Term(term.name, _known(term.options, classes is not None)) for term in candidate.terms])
    catalog.build("schedules", candidate.schedule.name, options=candidate.schedule.options)
    built = network.build(
        architecture=candidate.architecture,
        encoder=encoder,
        weights=None,
        options=candidate.options,
        num_logits=num_logits(task, 2 if classes is None else len(trained(classes))),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    height, width = TRIED_PX
    try:
        with torch.inference_mode():
            logits: torch.Tensor = built.eval()(torch.zeros(1, 3, height, width))
    except REFUSALS as error:
        raise InputError(
            f"encoder: {encoder!r} does not take an image of {width} x {height} pixels ({error}); choose one that takes any size"
        ) from error
    target = torch.zeros(logits.shape if task == "multilabel" else (1, height, width), dtype=torch.int64)
    try:
        objective.of(built.train(), loss, torch.zeros(1, 3, height, width), target).backward()
    except REFUSALS as error:
        raise InputError(f"it cannot be trained, by the options of its architecture or of its loss: {error}") from error


def _known(options: dict[str, Any], classes_are_known: bool) -> dict[str, Any]:
    """Those of a loss that can be tried before the dataset is read."""
    return {key: value for key, value in options.items() if value != "auto" and (key != "class_weights" or classes_are_known)}
