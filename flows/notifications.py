"""Who is told what came out of a retraining: a log in the project always, and whoever SEGMODELS_NOTIFY names, by apprise.

Its addresses hold secrets, which is why they are no part of params.yaml: `slack://...`, `mailto://...`, `json://host/path`, with spaces
between. Somebody who cannot be told is no reason to fail.
"""

import json
import os
from datetime import UTC, datetime

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


def failed(settings: Params, reason: str, *, started: str) -> None:
    """Tell that a retraining failed, and why."""
    _tell(settings, "failed", f"the retraining failed: {reason}", started)


def _tell(settings: Params, event: Event, text: str, started: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = {"time": now, "project": settings.project, "event": event, "text": text, "started": started}
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with LOG.open("a", encoding="utf-8") as log:
        log.write(json.dumps(line, ensure_ascii=False) + "\n")
    addresses = os.environ.get(ADDRESSES, "").split()
    if event not in settings.notifications.events or not addresses:
        return
    import apprise  # which takes a second

    for address in addresses:
        kind = address.partition(":")[0]  # the rest may be secret
        one = apprise.Apprise()
        if not one.add(address):
            console.error(f"{ADDRESSES}: one of its addresses, {kind}:..., is none that apprise knows")
        elif not one.notify(title=f"{settings.project}: {event}", body=f"{text}\n\nStarted {started}."):
            console.error(f"{ADDRESSES}: {kind}:... could not be told that {text}")
