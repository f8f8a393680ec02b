"""The champion over HTTP: POST an image, get its mask, an overlay or polygons. Swaps to another champion without losing a request.

What strangers send is bounded before it is parsed (see http_limits.py), and decoded in other processes, which a file made to do harm can end
without harm.
"""

import asyncio
import contextlib
import hmac
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader
from PIL import Image
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from segmodels import images, polygons, workers
from segmodels.batching import Batcher, Full, Served
from segmodels.decoding import Decoders, Undecodable
from segmodels.errors import InputError
from segmodels.http_limits import BodyLimit, TooMuch, UnderWay, Watched
from segmodels.samples import ImageArray, UInt8Array, trained

KEY_HEADER, VERSION_HEADER = "X-API-Key", "X-Model-Version"
PREDICT = "/v1/predict"
RAW_TYPES = ("image/", "application/octet-stream", "application/x-www-form-urlencoded")
"""The last is what `curl --data-binary` says where it is not told."""
FORM = "multipart/form-data"
T = TypeVar("T")
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


@dataclass(frozen=True)
class Limits:
    """What a request may cost.

    Attributes:
        max_bytes: of a request's body; those under way may have eight times as many together.
        max_pixels: of an image; those under way may have four times as many together.
        waiting: requests that may be under way besides those that are predicted.
        at_once: images that are predicted together. On a CPU more gain nothing, and all of them wait for the last.
        body_s, decode_s, answer_s: how long the body may take to come, an image to be decoded, and a mask to be predicted.
        poll_s: how often the champion is asked for.
    """

    max_bytes: int = 32 * 2**20
    max_pixels: int = 50_000_000
    waiting: int = 64
    at_once: int = 2
    body_s: float = 20.0
    decode_s: float = 20.0
    answer_s: float = 60.0
    poll_s: float = 5.0


class Problem(BaseModel):
    """Why a request has no answer: what was wrong, what was expected."""

    detail: str


class Model(BaseModel):
    """The model that answers."""

    version: str
    candidate: str
    task: str
    classes: list[str]
    channels: int
    bits: int
    backend: str
    precision: str


class Polygons(BaseModel):
    """What was found in an image, as COCO has it."""

    version: str
    height: int
    width: int
    categories: list[dict[str, Any]]
    annotations: list[dict[str, Any]]


PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": text}
    for code, text in {
        401: "The API key is missing or wrong.",
        408: "The body did not come in time.",
        413: "Too many bytes, or too many pixels.",
        415: "No image, and no form.",
        422: "No image that can be read, or of another kind than the model's.",
        429: "Too many requests at once: come again.",
        503: "No model is ready, or it took too long.",
    }.items()
}


class Metrics:
    """What Prometheus is told."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("segmodels_requests", "Predictions asked for", ["status"], registry=self.registry)
        self.seconds = Histogram(
            "segmodels_request_seconds", "From the first byte to the answer", registry=self.registry, buckets=BUCKETS
        )
        self.batch = Histogram(
            "segmodels_batch_images", "Images predicted together", registry=self.registry, buckets=(1, 2, 4, 8, 16, 32)
        )
        self.waiting = Gauge("segmodels_waiting_images", "Images that wait for the network", registry=self.registry)
        self.swaps = Counter("segmodels_swaps", "Models that became the one that answers", registry=self.registry)
        self.failed_polls = Counter("segmodels_failed_polls", "Times the champion could not be had", registry=self.registry)

    def told(self, path: str, status: int, seconds: float) -> None:
        """Of a request that was answered."""
        if path == PREDICT:
            self.requests.labels(str(status)).inc()
            self.seconds.observe(seconds)


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The mask, the overlay or the polygons",
        "content": {
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {"schema": Polygons.model_json_schema()},
        },
        "headers": {VERSION_HEADER: {"description": "The version of the model", "schema": {"type": "string"}}},
    },
    **PROBLEMS,
}
_ASKED: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            **{
                kind: {"schema": {"type": "string", "format": "binary"}}
                for kind in ("image/png", "image/jpeg", "application/octet-stream")
            },
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                }
            },
        },
    }
}
"""Of `/v1/predict`, as its description has it."""
_NO_IMAGE = f"the body cannot be read: it does not begin as {', '.join(images.FILE_FORMATS)} do; send an image"
_OVERLAP = "classes of this model overlap, so that one mask cannot show them; ask for ?as=polygons"


class Service:
    """What answers: the model of now, and what requests go through.

    Args:
        poll: gives a model when it is another than it gave last; called in a thread of its own every `limits.poll_s` seconds.
        say: told in a sentence when the model changes, or cannot be had.
    """

    def __init__(self, poll: Callable[[], Served | None], limits: Limits, say: Callable[[str], None]) -> None:
        self.poll, self.limits, self.say, self.metrics = poll, limits, say, Metrics()
        self._now: Served | None = None
        self._tasks: list[asyncio.Task[None]] = []
        under_way = limits.waiting + limits.at_once
        # as many may wait: those of the next batch do too until it is taken
        self._batcher = Batcher(self.now, at_once=limits.at_once, waiting=under_way, on_batch=self.metrics.batch.observe)
        self._decoders = Decoders(limits.decode_s, limits.max_pixels)
        self._drawing = ThreadPoolExecutor(workers.cores())
        self._requests, self._pixels = UnderWay(under_way), UnderWay(4 * limits.max_pixels)
        self.metrics.waiting.set_function(lambda: len(self._batcher))

    @contextlib.asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        """Ask for the champion, and answer, meanwhile."""
        self._tasks = [asyncio.create_task(self._polling()), asyncio.create_task(self._batcher.run())]
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._drawing.shutdown(wait=False, cancel_futures=True)
            self._decoders.close()

    def now(self) -> Served:
        """The model that answers.

        Raises:
            HTTPException: there is none yet, or nothing answers any more.
        """
        self.refuse_if_broken()
        if self._now is None:
            raise HTTPException(503, "no model is ready yet; /readyz says when one is", headers={"Retry-After": "5"})
        return self._now

    def refuse_if_broken(self) -> None:
        """Raises HTTPException where nothing answers any more."""
        if any(task.done() for task in self._tasks):
            raise HTTPException(503, "the service is broken; it must be started again")

    async def predict(self, request: Request, wanted: str) -> Response:
        """The answer to a request with an image: a mask, an overlay or polygons.

        Raises:
            HTTPException: why there is none.
        """
        if wanted == "mask" and self.now().predictor.bundle.facts.task == "multilabel":
            raise HTTPException(422, _OVERLAP)
        try:
            with self._requests.taking(1):
                content = await _within(self.limits.body_s, _body(request), 408, "the body did not come in time")
                return await self._answered(content, wanted)
        except ClientDisconnect:
            return Response(status_code=499)  # which nobody sees; Prometheus is told
        except (TooMuch, Full):
            raise HTTPException(429, "too many requests at once; come again in a second", headers={"Retry-After": "1"}) from None

    async def _answered(self, content: bytes, wanted: str) -> Response:
        kind, seconds = self.now().predictor.bundle.kind, self.limits.answer_s
        try:
            image = await _within(seconds, self._decoders(content, kind), 503, "no decoder was free in time")
        except Undecodable as error:
            raise HTTPException(413 if error.too_large else 422, str(error)) from error
        with self._pixels.taking(image.shape[0] * image.shape[1]):
            try:
                served, labelling = await _within(seconds, self._batcher(image), 503, "the model took too long")
            except InputError:
                if self.now().predictor.bundle.kind == kind:
                    raise
                return await self._answered(content, wanted)  # another champion came meanwhile, of images of another kind
            until = time.monotonic() + seconds
            drawn = asyncio.get_running_loop().run_in_executor(self._drawing, _respond, served, image, labelling, wanted, until)
            return await _within(seconds, drawn, 503, "the answer took too long to draw")

    async def _polling(self) -> None:
        loop, asking = asyncio.get_running_loop(), ThreadPoolExecutor(1)
        while True:
            try:
                found = await loop.run_in_executor(asking, self.poll)
            except Exception as error:  # the registry is away, or the model is damaged: the one that answers goes on
                self.metrics.failed_polls.inc()
                told = f"the champion cannot be had: {error}"
            else:
                told = ""
                if found is not None:
                    self._now = found
                    self.metrics.swaps.inc()
                    told = f"version {found.version} answers now, on {found.predictor.backend.name}"
            if told:
                with contextlib.suppress(OSError, ValueError):  # nobody listens any more
                    self.say(told)
            await asyncio.sleep(self.limits.poll_s)


def build(
    poll: Callable[[], Served | None],
    *,
    limits: Limits | None = None,
    api_key: str | None = None,
    say: Callable[[str], None] = print,
) -> FastAPI:
    """The application.

    Args:
        poll, say: see `Service`.
        api_key: what requests must carry, where anybody can send them.
    """
    limits = limits or Limits()
    service = Service(poll, limits, say)
    app = FastAPI(
        title="segmodels",
        summary="Masks of images, by the champion of the registry.",
        lifespan=service.running,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    app.add_middleware(BodyLimit, max_bytes=limits.max_bytes, together=UnderWay(8 * limits.max_bytes))
    app.add_middleware(Watched, told=service.metrics.told)
    app.add_exception_handler(RequestValidationError, _misasked)
    app.add_exception_handler(Exception, _failed)
    _add_operating(app, service)
    # the description speaks of a key only where there is one
    _add_predicting(app, service, [] if api_key is None else [Depends(_authorised(api_key))])
    return app


def _authorised(api_key: str) -> Callable[[str | None], None]:
    def check(key: Annotated[str | None, Security(APIKeyHeader(name=KEY_HEADER, auto_error=False))]) -> None:
        if not hmac.compare_digest((key or "").encode(), api_key.encode()):
            raise HTTPException(401, f"the header {KEY_HEADER} must carry the API key")

    return check


def _add_operating(app: FastAPI, service: Service) -> None:
    """What those who operate it ask."""

    @app.get("/healthz", summary="Whether the program runs", tags=["operating"], responses={503: PROBLEMS[503]})
    async def healthz() -> dict[str, str]:
        service.refuse_if_broken()
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether a model answers", tags=["operating"], responses={503: PROBLEMS[503]})
    async def readyz() -> dict[str, str]:
        return {"status": "ready", "version": service.now().version}

    @app.get("/metrics", summary="For Prometheus", tags=["operating"], response_class=Response)
    async def metrics() -> Response:
        return Response(generate_latest(service.metrics.registry), media_type="text/plain; version=0.0.4")


def _add_predicting(app: FastAPI, service: Service, keyed: list[Any]) -> None:
    """What those who want masks ask; `keyed` is what they must show."""

    @app.get(
        "/v1/model",
        summary="The model that answers",
        dependencies=keyed,
        responses={code: PROBLEMS[code] for code in (401, 503)},
    )
    async def model() -> Model:
        served = service.now()
        facts = served.predictor.bundle.facts
        return Model(
            version=served.version,
            candidate=facts.candidate,
            task=facts.task,
            classes=[one.name for one in trained(served.predictor.bundle.classes)],
            channels=facts.channels,
            bits=facts.bits,
            backend=served.predictor.backend.name,
            precision=served.predictor.backend.precision,
        )

    @app.post(
        PREDICT,
        summary="The mask of an image",
        description=(
            "The body is an image (PNG, JPEG, TIFF, WebP, BMP), or a form with one in the field `file`. The answer is a palette PNG "
            "whose pixel values are class indices, an overlay, or polygons as COCO has them."
        ),
        dependencies=keyed,
        response_class=Response,
        responses=_ANSWERS,
        openapi_extra=_ASKED,
    )
    async def predict(
        request: Request,
        wanted: Annotated[Literal["mask", "overlay", "polygons"], Query(alias="as", description="What to answer with")] = "mask",
    ) -> Response:
        return await service.predict(request, wanted)


async def _misasked(_: Request, error: Exception) -> JSONResponse:
    """Of parameters that are none, in a sentence as all else is refused."""
    assert isinstance(error, RequestValidationError)
    told = [f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']} (is {str(one.get('input'))[:60]!r})" for one in error.errors()]
    return JSONResponse({"detail": "; ".join(told)}, 422)


async def _failed(_: Request, error: Exception) -> JSONResponse:
    """A fault of ours, in JSON as all else; the program's log has where it was."""
    # uvicorn hangs up once the fault has reached it: a client that is not told sends its next request into that
    headers = {"Connection": "close"}
    return JSONResponse({"detail": f"the service failed ({type(error).__name__}); its log says where"}, 500, headers)


async def _body(request: Request) -> bytes:
    """The image's bytes, from the body or a form."""
    kind = request.headers.get("content-type", "application/octet-stream").lower()
    if kind.startswith(FORM):
        try:
            async with request.form(max_files=1, max_fields=8) as form:
                sent = form.get("file")
                if not isinstance(sent, UploadFile):
                    raise HTTPException(422, "the form has no file in its field `file`")
                content = await sent.read()
                _refuse_no_image(content)
                return content
        except (StarletteHTTPException, UnicodeError, LookupError) as error:
            if isinstance(error, HTTPException) or getattr(error, "status_code", 400) != 400:
                raise
            told = getattr(error, "detail", error)
            raise HTTPException(422, f"the form cannot be read: {told}; send one with the image in `file`") from error
    if not kind.startswith(RAW_TYPES):
        raise HTTPException(415, f"cannot read {kind!r}; send an image (image/png, image/jpeg ...) or a form with it in `file`")
    return await _raw(request)


async def _raw(request: Request) -> bytes:
    """The whole body, if it begins as an image does; the rest of another is not waited for."""
    parts, is_told = list[bytes](), False
    async for part in request.stream():
        parts.append(part)
        if not is_told and (is_told := sum(map(len, parts)) >= images.BEGINNING_BYTES):
            _refuse_no_image(b"".join(parts))
    content = b"".join(parts)
    _refuse_no_image(content)
    return content


def _refuse_no_image(content: bytes) -> None:
    if not images.suffix_of(content):
        raise HTTPException(422, _NO_IMAGE)


async def _within(seconds: float, what: Awaitable[T], status: int, told: str) -> T:
    try:
        return await asyncio.wait_for(what, seconds)
    except TimeoutError:
        raise HTTPException(status, f"{told} ({seconds:g} s)") from None


def _respond(served: Served, image: ImageArray, labelling: UInt8Array, wanted: str, until: float) -> Response:
    classes = trained(served.predictor.bundle.classes)
    headers = {VERSION_HEADER: served.version}
    if wanted == "polygons":
        parts: list[dict[str, Any]] = []
        for one in polygons.annotations(labelling, len(classes), image_id=1):
            if time.monotonic() > until:
                raise HTTPException(503, f"there are too many parts to outline in time; ask for ?as=mask ({len(parts)} were)")
            parts.append(one)
        found = Polygons(
            version=served.version,
            height=image.shape[0],
            width=image.shape[1],
            categories=polygons.categories(classes),
            annotations=parts,
        )
        return JSONResponse(found.model_dump(), headers=headers)
    file = io.BytesIO()
    if wanted == "overlay":
        Image.fromarray(images.overlay(images.shown(image), labelling, classes)).save(file, format="PNG")
    elif labelling.ndim == 3:  # another champion came meanwhile
        raise HTTPException(422, _OVERLAP)
    else:
        images.write_mask(file, labelling, classes)
    return Response(file.getvalue(), media_type="image/png", headers=headers)
