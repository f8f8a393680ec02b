"""People are told what came out, by addresses that apprise knows, and in a log."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from flows import notifications
from flows.standing import Decision
from segmodels import params
from segmodels.params import Params
from tests.conftest import PARAMS


class Webhook:
    """A server that keeps what is posted to it."""

    def __init__(self) -> None:
        received: list[dict[str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.received = received
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"json://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    made = Webhook()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(PARAMS + "notifications: {events: [promoted, failed]}\n")
    return params.read(Path("params.yaml"))


def logged() -> list[dict[str, str]]:
    return [json.loads(line) for line in notifications.LOG.read_text().splitlines()]


def test_a_webhook_and_the_log_hear_of_what_was_asked_for(
    webhook: Webhook, settings: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(notifications.ADDRESSES, webhook.address)
    promoted = Decision("promote", "unet is better by 3.1 points", "4")
    notifications.decided(settings, promoted, started="by the clock")
    notifications.decided(settings, promoted, started="by the clock")  # with nothing new there is nothing to tell
    notifications.decided(settings, Decision("inconclusive", "cannot tell", "5"), started="by hand")
    notifications.failed(settings, "train@unet: the loss became nan", started="by hand")
    assert [one["title"] for one in webhook.received] == ["tiny: promoted", "tiny: failed"]
    assert webhook.received[0]["message"] == "version 4 is champion now: unet is better by 3.1 points\n\nStarted by the clock."
    assert "the loss became nan" in webhook.received[1]["message"]
    assert [(one["event"], one["started"]) for one in logged()] == [
        ("promoted", "by the clock"),
        ("kept", "by hand"),
        ("failed", "by hand"),
    ]


def test_who_cannot_be_told_keeps_nobody_from_going_on_and_no_secret_is_printed(
    settings: Params, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(notifications.ADDRESSES, "nonsense://secret json://user:secret@127.0.0.1:1")
    notifications.failed(settings, "something", started="by hand")
    said = capfd.readouterr().err
    assert "address 1, nonsense://..., is none that apprise knows" in said
    assert "address 2, json://..., could not be told: tiny: failed" in said
    assert "secret" not in said
    assert len(logged()) == 1
