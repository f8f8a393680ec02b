"""The names that versions of a model have in the registry, and how the champion changes: whole, or not at all.

Imports little: whoever starts anything first puts back what was cut short.
"""

import json
from collections.abc import Callable, Mapping

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from segmodels.records import BEST_EVER, CHAMPION

_INTENT = "segmodels.promoting"
"""Tag of the model while its champion changes: to which version, and what the aliases named before."""


def aliased(client: MlflowClient, project: str, alias: str) -> ModelVersion | None:
    """The version that an alias names; None where it names none."""
    try:
        return client.get_model_version_by_alias(project, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # no model, or no alias
            return None
        raise


def change(
    client: MlflowClient,
    project: str,
    version: str,
    *,
    refusal: Callable[[], str | None],
    best_ever: bool,
    tags: Mapping[str, str],
) -> str | None:
    """Make a version champion if it answers; returns why it does not, and then nothing has changed.

    Args:
        refusal: asked when the alias names it.
        best_ever: whether it is the best champion that ever was, too.
        tags: that the version gets with it.
    """
    before = {alias: _number(aliased(client, project, alias)) for alias in (CHAMPION, BEST_EVER)}
    client.set_registered_model_tag(project, _INTENT, json.dumps({"to": version, "before": before}))
    client.set_registered_model_alias(project, CHAMPION, version)
    try:
        wrong = refusal()
    except BaseException:  # Ctrl-C too: nobody is to be sent to it until the next start
        reconcile(client, project)
        raise
    if wrong is not None:
        reconcile(client, project)
        return wrong
    if best_ever:
        client.set_registered_model_alias(project, BEST_EVER, version)
    for name, value in tags.items():
        client.set_model_version_tag(project, version, name, value)
    client.delete_registered_model_tag(project, _INTENT)
    return None


def reconcile(client: MlflowClient, project: str) -> None:
    """Put the aliases back where a change of the champion was cut short: nobody has seen that version answer.

    Unless somebody has moved the champion by hand since.
    """
    try:
        intent = client.get_registered_model(project).tags.get(_INTENT)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # nothing was registered yet
            return
        raise
    if intent is None:
        return
    told = json.loads(intent)
    if _number(aliased(client, project, CHAMPION)) == told["to"]:
        for alias, version in told["before"].items():
            if version is not None:
                client.set_registered_model_alias(project, alias, version)
            elif aliased(client, project, alias) is not None:
                client.delete_registered_model_alias(project, alias)
    client.delete_registered_model_tag(project, _INTENT)


def _number(version: ModelVersion | None) -> str | None:
    return None if version is None else str(version.version)
