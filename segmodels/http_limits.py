"""What requests may cost together, whoever sends them: bytes, pixels, time until they have begun."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEADER_S = 10.0
"""How long a connection may take to send the head of a request."""


class TooMuch(Exception):
    """More is under way than may be."""


class UnderWay:
    """How much of something is held by requests that are being answered; `most` is what all may hold together."""

    def __init__(self, most: int) -> None:
        self.most, self.now = most, 0

    @contextmanager
    def taking(self, amount: int) -> Iterator[None]:
        """Hold so much meanwhile.

        Raises:
            TooMuch: it would be more than may be held.
        """
        self.take(amount)
        try:
            yield
        finally:
            self.now -= amount

    def take(self, amount: int) -> None:
        """Hold so much more, see `taking`."""
        if self.now + amount > self.most:
            raise TooMuch
        self.now += amount


class BodyLimit:
    """Refuses a request whose body is longer than may be, before anybody reads it to its end.

    Args:
        together: of all bodies: what has come of each is held until it is answered, not what it says will come.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, together: UnderWay) -> None:
        self.app, self.max_bytes, self.together = app, max_bytes, together

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        told = dict(scope["headers"]).get(b"content-length", b"0")
        if not told.isdigit() or int(told) > self.max_bytes:
            await JSONResponse({"detail": self._told()}, 413)(scope, receive, send)
            return
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            size = len(message.get("body", b""))
            if seen + size > self.max_bytes:  # in chunks, which tell no length
                raise HTTPException(413, self._told())
            self.together.take(size)
            seen += size
            return message

        try:
            await self.app(scope, bounded, send)
        finally:
            self.together.now -= seen

    def _told(self) -> str:
        return f"the body is longer than {self.max_bytes} bytes; send a smaller or better compressed image"


class Watched:
    """Tells of every request its path, the status it was answered with, and the seconds that took, whoever answered it."""

    def __init__(self, app: ASGIApp, told: Callable[[str, int, float], None]) -> None:
        self.app, self.told = app, told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        began, status = loop.time(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            self.told(scope["path"], status, loop.time() - began)


class Impatient(AutoHTTPProtocol):  # type: ignore[misc,valid-type]
    """uvicorn's protocol, but it hangs up on who does not send the head of a request within HEADER_S."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()
        elif self._patience is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._patience = self.loop.call_later(HEADER_S, self.transport.close)

    def _forget(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
