"""Who is told what came out of a retraining: a log in the project always, and whoever SEGMODELS_NOTIFY names, by apprise.

Its addresses hold secrets, which is why they are no part of params.yaml: `slack://...`, `mailto://...`, `json://host/path`, with spaces
between. Somebody who cannot be told is no reason to fail.
"""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from flows.standing import Decision
from segmodels import atomic, console
from segmodels.params import Event, Params
from segmodels.project import WORK

ADDRESSES = "SEGMODELS_NOTIFY"
LOG = WORK / "outcomes.jsonl"
_TOLD = WORK / "told.json"
"""The last decision that was told: a retraining that was killed before it told is made up for by the next one."""


def decided(settings: Params, decision: Decision, *, started: str) -> None:
    """Tell what was decided, unless that has been told."""
    told = {"version": decision.version, "outcome": decision.outcome, "reason": decision.reason}
    if _TOLD.is_file() and json.loads(_TOLD.read_text(encoding="utf-8")) == told:
        return
    event: Event = "promoted" if decision.outcome == "promote" else "kept"
    became = "is champion now" if event == "promoted" else "is not made champion"
    _tell(settings, event, f"version {decision.version} {became}: {decision.reason}", started)
    atomic.write_text(_TOLD, json.dumps(told))


def failed(settings: Params | None, reason: str, *, started: str) -> None:
    """Tell that a retraining failed, and why.

    Args:
        settings: None where params.yaml cannot be read.
    """
    _tell(settings, "failed", f"the retraining failed: {reason}", started)


def _tell(settings: Params | None, event: Event, text: str, started: str) -> None:
    project = settings.project if settings is not None else Path.cwd().name
    wanted = settings.notifications.events if settings is not None else [event]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = {"time": now, "project": project, "event": event, "text": text, "started": started}
    try:
        LOG.parent.mkdir(parents=True, exist_ok=True)
        with LOG.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line, ensure_ascii=False) + "\n")
        if event in wanted:
            _send(os.environ.get(ADDRESSES, "").split(), f"{project}: {event}", f"{text}\n\nStarted {started}.")
    except Exception as error:  # such as a full disk, or anything that one of a hundred services comes up with
        console.error(f"{text}; that could not be told: {error}")


def _send(addresses: Sequence[str], title: str, body: str) -> None:
    if not addresses:
        return
    import apprise  # which takes a second

    for number, address in enumerate(addresses, start=1):
        kind = address.partition("://")[0] if "://" in address else "?"  # the rest may be secret
        one = apprise.Apprise()
        if not one.add(address):
            console.error(f"{ADDRESSES}: address {number}, {kind}://..., is none that apprise knows")
        elif not one.notify(title=title, body=body):
            console.error(f"{ADDRESSES}: address {number}, {kind}://..., could not be told: {title}")
