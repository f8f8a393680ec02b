"""The vault, asked about a promotion: how often it may be, what it has said, and nothing else of it.

Who knew more than "passed" or "failed" could tune on it, as on the test set.
"""

import json
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from flows import opponents
from flows.opponents import Opponent
from segmodels import gate
from segmodels.gate import Rules
from segmodels.store import Store

_OPENED = "segmodels.vault."
"""How tags of the model begin that hold an opening each: who writes one overwrites no other."""
YEAR = timedelta(days=365)


@dataclass(frozen=True)
class Opening:
    """One question to the vault. `passed` is None while it is being asked: who is cut short asks the same again.

    Attributes:
        asked: what it was about: challenger, champion, and the digest of the vault's images and labels.
        alpha: its part of the year's false promotions.
    """

    asked: tuple[str, str, str]
    day: str
    alpha: float
    passed: bool | None = None


class Closed(Exception):
    """Why the vault cannot be asked now, as a sentence."""


def passes(
    client: MlflowClient,
    project: str,
    challenger: ModelVersion,
    champion: ModelVersion,
    *,
    store: Store,
    rules: Rules,
    today: date,
) -> bool:
    """Whether a challenger is better than the champion on the vault too. The same question is answered once.

    Raises:
        Closed: it may not be asked again yet, or has too few scenes to tell anything.
    """
    asked = str(challenger.version), str(champion.version), store.digest("vault")
    openings = [one for one in _openings(client, project) if today - date.fromisoformat(one.day) < YEAR]
    known = next((one for one in openings if one.asked == asked), None)
    if known is None:
        _refuse_if_closed(store, rules, openings)
        known = Opening(asked, today.isoformat(), rules.vault_alpha)
        _note(client, project, known)  # before anything is seen
    elif known.passed is not None:
        return known.passed
    passed = _is_better(challenger, champion, store, rules)
    _note(client, project, replace(known, passed=passed))
    return passed


def _refuse_if_closed(store: Store, rules: Rules, openings: list[Opening]) -> None:
    """Raises Closed where another opening would be one too many, would spend more than the year's false promotions, or could not pass."""
    num_scenes = store.num_scenes("vault")
    if num_scenes < gate.scenes_for_vault(rules):
        raise Closed(
            f"the vault has {num_scenes} scenes, of which {gate.scenes_for_vault(rules)} are needed to tell anything; raise splits.vault, or "
            f"label more"
        )
    left, until = sorted(openings, key=lambda one: one.day), None
    while _are_all_there_may_be(left, rules):
        until = date.fromisoformat(left.pop(0).day) + YEAR
    if until is not None:
        raise Closed(
            f"the vault may be opened again on {until}: {rules.vault_openings_per_year} times a year is what gate.vault_openings_per_year allows, "
            f"with gate.false_promotions_per_year in all"
        )


def _are_all_there_may_be(openings: list[Opening], rules: Rules) -> bool:
    """Whether one more would be too many, or spend too much: each may have been given a larger part when it was made."""
    spent = sum(one.alpha for one in openings)
    too_much = bool(openings) and spent + rules.vault_alpha > 1.000001 * rules.false_promotions_per_year
    return len(openings) >= rules.vault_openings_per_year or too_much


def _is_better(challenger: ModelVersion, champion: ModelVersion, store: Store, rules: Rules) -> bool:
    """Who cannot be used there is no better than who can."""
    before = opponents.of_today(champion, store, part="vault")
    if not isinstance(before, Opponent):
        return True
    after = opponents.of_today(challenger, store, part="vault", among=before.classes)
    if not isinstance(after, Opponent):
        return False
    return gate.passes_vault(after.scored, before.scored, scenes=before.images["scene"].tolist(), rules=rules)


def _openings(client: MlflowClient, project: str) -> list[Opening]:
    tags = client.get_registered_model(project).tags
    told = [json.loads(value) for name, value in tags.items() if name.startswith(_OPENED)]
    return [Opening(**one | {"asked": tuple(one["asked"])}) for one in told]


def _note(client: MlflowClient, project: str, opening: Opening) -> None:
    challenger, champion, digest = opening.asked
    name = f"{_OPENED}{challenger}.{champion}.{digest[:16]}.{opening.day}"
    client.set_registered_model_tag(project, name, json.dumps(asdict(opening)))
