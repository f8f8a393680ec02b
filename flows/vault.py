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
from segmodels.errors import BundleError
from segmodels.gate import Rules
from segmodels.store import Store

_OPENED = "segmodels.vault"
"""Tag of the model: the openings of the last year."""
YEAR = timedelta(days=365)


@dataclass(frozen=True)
class Opening:
    """One question to the vault. `passed` is None while it is being asked: who is cut short asks the same again.

    Attributes:
        asked: what it was about: challenger, champion, and the digest of the vault's images and labels.
    """

    asked: tuple[str, str, str]
    day: str
    passed: bool | None = None


class Closed(Exception):
    """The vault has been asked as often as it may be within a year."""

    def __init__(self, until: date) -> None:
        super().__init__(f"the vault may be opened again on {until}")
        self.until = until


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
        Closed: it may not be asked again yet.
        BundleError: one of them cannot be used.
    """
    asked = str(challenger.version), str(champion.version), store.digest("vault")
    openings = [one for one in _openings(client, project) if today - date.fromisoformat(one.day) < YEAR]
    known = next((one for one in openings if one.asked == asked), None)
    if known is None:
        if len(openings) >= rules.vault_openings_per_year:
            oldest = sorted(openings, key=lambda one: one.day)[len(openings) - rules.vault_openings_per_year]
            raise Closed(date.fromisoformat(oldest.day) + YEAR)
        known = Opening(asked, today.isoformat())
        openings.append(known)
        _note(client, project, openings)  # before anything is seen
    elif known.passed is not None:
        return known.passed
    before = _scored(champion, store, among=None)
    after = _scored(challenger, store, among=before.classes)
    passed = gate.passes_vault(after.scored, before.scored, scenes=before.images["scene"].tolist(), rules=rules)
    _note(client, project, [replace(one, passed=passed) if one is known else one for one in openings])
    return passed


def _scored(version: ModelVersion, store: Store, *, among: list[str] | None) -> Opponent:
    found = opponents.of_today(version, store, part="vault", among=among)
    if isinstance(found, str):
        raise BundleError(f"version {version.version} {found}")
    return found


def _openings(client: MlflowClient, project: str) -> list[Opening]:
    told = json.loads(client.get_registered_model(project).tags.get(_OPENED, "[]"))
    return [Opening(tuple(one["asked"]), one["day"], one["passed"]) for one in told]


def _note(client: MlflowClient, project: str, openings: list[Opening]) -> None:
    client.set_registered_model_tag(project, _OPENED, json.dumps([asdict(one) for one in openings]))
