"""The way back to a version that was champion, or to any."""

import tempfile
from pathlib import Path

from flows import aliases, registry
from segmodels import locks, tracking
from segmodels.errors import InputError
from segmodels.project import LOCKS
from segmodels.records import CHAMPION, LEFT, PREVIOUS, VERDICT


def rollback(project: str, version: str | None = None) -> tuple[str, str]:
    """Make a version champion again; returns the one that was, and the one that is now.

    Args:
        version: the one that was champion before the present one, unless given.

    Raises:
        InputError: there is no such version, or none before, it is champion, or nothing was ever decided about it.
        BundleError: it is damaged.
    """
    client = tracking.connect()
    with locks.held(LOCKS / f"registry-{project}"):
        aliases.reconcile(client, project)
        champion = aliases.aliased(client, project, CHAMPION)
        if champion is None:
            raise InputError(f"{project}: there is no champion to go back from; `make retrain` makes one")
        wanted = version or champion.tags.get(PREVIOUS)
        if not wanted:
            raise InputError(
                f"version {champion.version} was the first champion; name one: make rollback VERSION=<n>, of `make history`"
            )
        if wanted == str(champion.version):
            raise InputError(f"VERSION: {wanted} is the champion already; nothing has changed")
        known = {str(one.version): one for one in client.search_model_versions(f"name = '{project}'")}
        if wanted not in known:
            raise InputError(f"VERSION: {wanted} is none of {project}; there are {', '.join(sorted(known, key=int))}")
        if VERDICT not in known[wanted].tags:
            raise InputError(f"VERSION: nothing was decided about {wanted}, whose registration was cut short; choose another")
        with tempfile.TemporaryDirectory() as work:
            kind = registry.fetch(known[wanted], Path(work) / "bundle").kind  # before anybody is sent to it
        wrong = aliases.change(
            client,
            project,
            wanted,
            refusal=lambda: registry.refusal(f"models:/{project}@{CHAMPION}", kind),
            best_ever=False,
            tags={LEFT: ""},
        )
        if wrong is not None:
            raise InputError(f"VERSION: {wanted} does not answer as MLflow loads it ({wrong}); version {champion.version} stays")
        client.set_model_version_tag(project, str(champion.version), LEFT, "yes")
    return str(champion.version), wanted
