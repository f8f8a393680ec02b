"""The service over HTTP: what it answers, what it refuses, and that another champion costs no request."""

import contextlib
import io
import itertools
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import uvicorn
from PIL import Image

from segmodels import bundle, service
from segmodels.batching import Served
from segmodels.http_limits import Impatient
from segmodels.images import read_image
from segmodels.predict import Predictor
from segmodels.samples import ImageKind, SegmentationClass
from segmodels.service import KEY_HEADER, VERSION_HEADER, Limits
from tests.conftest import clean_environment
from tests.pipeline.test_registry import save_constant

CLASSES = [SegmentationClass(f"c{index}", index, (60 * index, 9, 9)) for index in range(4)]
QUICK = Limits(poll_s=0.02)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Served]:
    """Four, of which each sees its own class everywhere: a mask says which one answered."""
    found = []
    for index in range(len(CLASSES)):
        folder = tmp_path_factory.mktemp("bundles") / f"m{index}"
        save_constant(folder, index, CLASSES)
        found.append(Served(str(index), Predictor(bundle.load(folder))))
    return found


@contextlib.contextmanager
def running(poll: Callable[[], Served | None], *, ready: bool = True, **settings: Any) -> Iterator[httpx.Client]:
    """The service on loopback, at a port of its own; yields who asks it."""
    app = service.build(poll, say=lambda _: None, **{"limits": QUICK} | settings)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", http=Impatient))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < deadline and thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            while ready and client.get("/readyz").status_code != 200:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield client
    finally:
        server.should_exit = True
        thread.join(30)
    assert not thread.is_alive()


def once(served: Served) -> Callable[[], Served | None]:
    """The same champion for ever."""
    models = iter([served])
    return lambda: next(models, None)


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()


IMAGE = np.random.default_rng(0).integers(0, 256, (40, 70, 3), np.uint8)
RAW: dict[str, Any] = {"content": png(IMAGE), "headers": {"Content-Type": "image/png"}}


@pytest.fixture(scope="module")
def client(models: list[Served]) -> Iterator[httpx.Client]:
    with running(once(models[2])) as found:
        yield found


CURL = {"Content-Type": "application/x-www-form-urlencoded"}  # of `curl --data-binary`


@pytest.mark.parametrize(
    "sent", [RAW, {"content": png(IMAGE)}, RAW | {"headers": CURL}, {"files": {"file": ("x.png", png(IMAGE), "image/png")}}]
)
def test_an_image_is_answered_with_its_mask(client: httpx.Client, sent: dict[str, Any]) -> None:
    answer = client.post("/v1/predict", **sent)
    assert (answer.status_code, answer.headers[VERSION_HEADER], answer.headers["content-type"]) == (200, "2", "image/png")
    mask = Image.open(io.BytesIO(answer.content))
    assert mask.mode == "P" and (np.asarray(mask) == np.full((40, 70), 2)).all()
    assert mask.getpalette()[6:9] == [120, 9, 9]  # type: ignore[index]


def test_a_mask_is_that_of_predict(tmp_path: Path, models: list[Served], client: httpx.Client) -> None:
    (tmp_path / "one.png").write_bytes(png(IMAGE))
    expected = models[2].predictor(read_image(tmp_path / "one.png"))
    assert (np.asarray(Image.open(io.BytesIO(client.post("/v1/predict", **RAW).content))) == expected).all()


def test_images_of_every_format_are_answered(client: httpx.Client) -> None:
    want = client.post("/v1/predict", **RAW).content
    for form, options in (("PNG", {}), ("TIFF", {}), ("TIFF", {"big_tiff": True}), ("WEBP", {"lossless": True}), ("BMP", {})):
        file = io.BytesIO()
        Image.fromarray(IMAGE).save(file, format=form, **options)
        assert client.post("/v1/predict", content=file.getvalue()).content == want, (form, options)


def test_overlay_and_polygons(client: httpx.Client) -> None:
    shown = Image.open(io.BytesIO(client.post("/v1/predict?as=overlay", **RAW).content))
    assert shown.mode == "RGB" and shown.size == (70, 40)
    told = client.post("/v1/predict?as=polygons", **RAW).json()
    assert (told["version"], told["height"], told["width"]) == ("2", 40, 70)
    [one] = told["annotations"]
    assert one["area"] == 40 * 70
    assert next(entry["name"] for entry in told["categories"] if entry["id"] == one["category_id"]) == "c2"


@pytest.mark.parametrize(
    ("query", "sent", "status", "said"),
    [
        ("", {"content": b"no image", "headers": {"Content-Type": "image/png"}}, 422, "cannot be read"),
        ("", {"content": png(IMAGE)[:-40]}, 422, "cannot be read"),
        ("", {"content": b""}, 422, "cannot be read"),
        (
            "",
            {"content": b"{}", "headers": {"Content-Type": "application/json"}},
            415,
            "cannot read 'application/json'; send an image",
        ),
        ("", {"files": {"other": ("x.png", b"1")}}, 422, "the form has no file in its field `file`"),
        ("", {"content": png(np.zeros((40, 70, 4), np.uint8))}, 422, "partly transparent"),
        ("?as=music", RAW, 422, "as: Input should be 'mask', 'overlay' or 'polygons' (is 'music')"),
        ("", {"files": [(f"f{n}", (None, "x")) for n in range(20)]}, 422, "the form cannot be read: Too many fields"),
        (
            "",
            {"content": b"--x--", "headers": {"Content-Type": "multipart/form-data; boundary=x; charset=undefined"}},
            422,
            "the form",
        ),
    ],
)
def test_what_is_no_image_is_refused_with_a_reason(
    client: httpx.Client, query: str, sent: dict[str, Any], status: int, said: str
) -> None:
    answer = client.post(f"/v1/predict{query}", **sent)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["detail"]


def test_what_is_too_large_is_refused_before_it_is_read(models: list[Served]) -> None:
    limits = Limits(max_bytes=20_000, max_pixels=3_000, poll_s=0.02)
    with running(once(models[0]), limits=limits) as client:
        assert client.post("/v1/predict", content=png(IMAGE)).status_code == 200
        answer = client.post("/v1/predict", content=bytes(20_001))
        assert (answer.status_code, answer.json()["detail"]) == (
            413,
            "the body is longer than 20000 bytes; send a smaller or better compressed image",
        )
        chunks = (part for part in [png(IMAGE), *[bytes(5_000)] * 5])  # which tell no length
        assert client.post("/v1/predict", content=chunks).status_code == 413
        answer = client.post("/v1/predict", content=png(np.zeros((60, 60, 3), np.uint8)))
        assert answer.status_code == 413 and "60 x 60 pixels, more than 3,000" in answer.json()["detail"]
        assert 'segmodels_requests_total{status="413"} 3.0' in client.get("/metrics").text


def test_what_begins_as_no_image_is_refused_before_it_has_come(client: httpx.Client) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20) as connection:
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\na1=1&a2=1&a3=1")
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(65536) or pytest.fail(f"hung up after {answer!r}")
    assert answer.startswith(b"HTTP/1.1 422 ") and b"it does not begin as PNG, JPEG, TIFF, WEBP, BMP do; send an image" in answer


PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n'
FORM = "multipart/form-data; boundary=x"


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"&".join(b"a%d=1" % number for number in range(1_000_000)), "application/x-www-form-urlencoded", 422),
        (PART + b"".join(b"X-H%d: y\r\n" % number for number in range(10_000)) + b"\r\nabc\r\n--x--\r\n", FORM, 422),
        (PART + b"X: " + b"a" * 30_000_000 + b"\r\n\r\nabc\r\n--x--\r\n", FORM, 422),
        (b"".join(PART + b"\r\n1\r\n" for _ in range(100_000)) + b"--x--\r\n", FORM, 422),
        (PART + b"\r\n" + b"\r\n--" * 7_000_000, FORM, 422),
        (b"\r\n" * 15_000_000, FORM, 422),
    ],
    ids=["fields", "headers", "header", "parts", "boundaries", "lines"],
)
# starlette leaves the file of a part that never ends to Python, which closes it at once, and says so
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_forms_made_to_do_harm_are_refused_while_others_are_answered(
    client: httpx.Client, content: bytes, kind: str, status: int
) -> None:
    with ThreadPoolExecutor(4) as pool:
        bombs = [pool.submit(client.post, "/v1/predict", content=content, headers={"Content-Type": kind}) for _ in range(2)]
        others = [pool.submit(client.post, "/v1/predict", **RAW) for _ in range(20)]
        assert {one.result().status_code for one in bombs} == {status}
        assert {one.result().status_code for one in others} == {200}


def test_what_claims_any_size_is_too_large_and_not_damaged(client: httpx.Client) -> None:
    content, side = png(IMAGE), (60_000).to_bytes(4, "big")
    header = content[12:16] + side + side + content[24:29]
    claims = content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:]
    answer = client.post("/v1/predict", content=claims)
    assert answer.status_code == 413 and "3600000000 pixels, more than 50,000,000; cut it" in answer.json()["detail"]


def test_who_leaves_before_the_end_of_a_body_is_no_fault(client: httpx.Client, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as one:
        one.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
    deadline = time.monotonic() + 30
    while 'segmodels_requests_total{status="499"}' not in client.get("/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "Traceback" not in capfd.readouterr().err


def test_ranges_are_of_no_interest(client: httpx.Client) -> None:
    ranges = "bytes=" + ",".join(f"{start}-" for start in range(5_000))
    answer = client.post("/v1/predict", content=RAW["content"], headers={"Range": ranges})
    assert answer.status_code == 200 and answer.content == client.post("/v1/predict", **RAW).content


class Slow(Predictor):
    """A network that waits until it may."""

    go = threading.Event()

    def each(self, images: Any) -> Any:
        assert self.go.wait(60)
        return super().each(images)


def test_more_than_may_wait_are_told_to_come_again(models: list[Served]) -> None:
    slow = Served("s", Slow(models[1].predictor.bundle, models[1].predictor.backend))
    Slow.go.clear()
    with running(once(slow), limits=Limits(waiting=2, at_once=1, poll_s=0.02)) as client, ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(client.post, "/v1/predict", **RAW) for _ in range(6)]
        deadline = time.monotonic() + 30
        while not any(one.done() for one in answers):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.5)
        assert client.get("/healthz").json() == {"status": "ok"}  # it answers meanwhile
        Slow.go.set()
        statuses = sorted(one.result().status_code for one in answers)
    assert statuses == [200, 200, 200, 429, 429, 429]  # one with the network, two waiting
    refused = next(one.result() for one in answers if one.result().status_code == 429)
    assert refused.headers["Retry-After"] == "1" and "come again" in refused.json()["detail"]


def test_images_that_wait_hold_no_more_than_they_may_together(models: list[Served]) -> None:
    slow = Served("s", Slow(models[1].predictor.bundle, models[1].predictor.backend))
    Slow.go.clear()
    with running(once(slow), limits=Limits(max_pixels=2_800, at_once=1, poll_s=0.02)) as client, ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(client.post, "/v1/predict", **RAW) for _ in range(6)]  # of 2,800 pixels each
        deadline = time.monotonic() + 30
        while sum(one.done() for one in answers) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        Slow.go.set()
        assert sorted(one.result().status_code for one in answers) == [200, 200, 200, 200, 429, 429]
        assert client.post("/v1/predict", **RAW).status_code == 200


def test_a_champion_of_images_of_another_kind_loses_no_request(models: list[Served], tmp_path: Path) -> None:
    """One waits, decoded for the champion before it, as the next one comes."""
    save_constant(tmp_path / "gray", 3, CLASSES, kind=ImageKind(1, 16), channels=1)
    gray = Served("gray", Predictor(bundle.load(tmp_path / "gray")))
    turns: list[Served | None] = [Served("rgb", Slow(models[1].predictor.bundle, models[1].predictor.backend))]
    Slow.go.clear()
    limits = Limits(at_once=1, poll_s=0.02)
    with running(lambda: turns.pop() if turns else None, limits=limits) as client, ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(client.post, "/v1/predict", **RAW) for _ in range(3)]
        deadline = time.monotonic() + 30
        while "segmodels_waiting_images 2.0" not in client.get("/metrics").text:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        turns.append(gray)
        while client.get("/readyz").json()["version"] != "gray":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        Slow.go.set()
        found = [one.result() for one in answers]
    assert [one.status_code for one in found] == [200] * 3
    assert sorted(one.headers[VERSION_HEADER] for one in found) == ["gray", "gray", "rgb"]


class Tiled(Predictor):
    """A network that takes an image in tiles, each of which takes long."""

    def in_tiles(self, height: int, width: int) -> bool:
        return height > 100

    def bands(self, image: Any) -> Any:
        for start in range(0, len(image), 20):
            time.sleep(0.1)
            yield slice(start, start + 20), np.zeros((20, image.shape[1]), np.uint8)


def test_an_image_that_takes_too_long_costs_no_other_its_answer(models: list[Served]) -> None:
    tiled = Served("t", Tiled(models[1].predictor.bundle, models[1].predictor.backend))
    with running(once(tiled), limits=Limits(answer_s=1.0, poll_s=0.02)) as client:
        large = client.post("/v1/predict", content=png(np.zeros((2000, 70, 3), np.uint8)))  # ten seconds of tiles
        assert (large.status_code, large.json()["detail"]) == (503, "the model took too long (1 s)")
        assert client.get("/readyz").status_code == 200
        assert client.post("/v1/predict", **RAW).status_code == 200


def test_where_nothing_answers_any_more_it_is_not_ready(models: list[Served], monkeypatch: pytest.MonkeyPatch) -> None:
    async def ends(_: Any) -> None:
        return

    with running(once(models[1])) as client:
        assert client.get("/readyz").status_code == 200
    monkeypatch.setattr("segmodels.batching.Batcher.run", ends)
    with running(once(models[1]), ready=False) as client:
        for answer in (client.get("/readyz"), client.get("/healthz"), client.post("/v1/predict", **RAW)):
            assert (answer.status_code, answer.json()["detail"]) == (503, "the service is broken; it must be started again")


def test_a_body_that_does_not_come_in_time_is_refused(models: list[Served]) -> None:
    with running(once(models[1]), limits=Limits(body_s=0.3, poll_s=0.02)) as client:

        def trickling() -> Iterator[bytes]:
            yield RAW["content"][:100]
            time.sleep(1.5)
            yield RAW["content"][100:]

        late = client.post("/v1/predict", content=trickling())
        assert (late.status_code, late.json()["detail"]) == (408, "the body did not come in time (0.3 s)")
        assert client.post("/v1/predict", **RAW).status_code == 200


def test_an_image_that_is_not_decoded_in_time_is_refused(models: list[Served], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmodels.decoding.decode", never)
    with running(once(models[1]), limits=Limits(decode_s=0.3, poll_s=0.02)) as client:
        refused = client.post("/v1/predict", **RAW)
        assert (refused.status_code, refused.json()["detail"]) == (422, "the image was not decoded within 0.3 s")
        assert client.get("/healthz").status_code == 200


def never(_: Any) -> None:
    """A decoder that has no end."""
    time.sleep(60)


def test_the_model_that_answers_is_told(client: httpx.Client) -> None:
    told = client.get("/v1/model")
    assert told.status_code == 200
    assert told.json() == {
        "version": "2",
        "candidate": "m2",
        "task": "multiclass",
        "classes": ["c0", "c1", "c2", "c3"],
        "channels": 3,
        "bits": 8,
        "backend": "torch",
        "precision": "bf16",
    }


@pytest.mark.parametrize("which", [[0], [1], [0, 1]])
def test_a_decoder_that_was_killed_has_a_successor(models: list[Served], which: list[int]) -> None:
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    with running(once(models[2])) as client:
        assert client.post("/v1/predict", **RAW).status_code == 200
        mine = [one for one in psutil.Process().children(recursive=True) if one.pid not in before]
        decoders = [one for one in mine if not one.children()]
        for number in which:
            decoders[number % len(decoders)].kill()
        time.sleep(0.5)
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: client.post("/v1/predict", **RAW), range(8)))
        assert [one.status_code for one in answers] == [200] * 8


def test_bodies_that_never_come_keep_nobody_waiting(models: list[Served]) -> None:
    with running(once(models[0]), limits=Limits(max_bytes=10_000, poll_s=0.02)) as client, contextlib.ExitStack() as stack:
        address = client.base_url.host, client.base_url.port or 80
        for _ in range(20):  # together they might send more than all may
            one = stack.enter_context(socket.create_connection(address))
            one.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        time.sleep(0.3)
        assert client.post("/v1/predict", **RAW).status_code == 200


class Broken(Predictor):
    """A network with a fault."""

    def each(self, images: Any) -> Any:
        raise RuntimeError("no such thing")


def test_a_fault_of_ours_is_said_in_json_and_the_service_goes_on(models: list[Served]) -> None:
    with running(once(Served("b", Broken(models[0].predictor.bundle, models[0].predictor.backend)))) as client:
        for _ in range(2):
            answer = client.post("/v1/predict", **RAW)
            assert answer.status_code == 500
            assert answer.json() == {"detail": "the service failed (RuntimeError); its log says where"}
            assert answer.headers["Connection"] == "close"  # which it does: a client must not send its next one there


def test_who_never_ends_the_head_of_a_request_is_hung_up_on(models: list[Served], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmodels.http_limits.HEADER_S", 0.2)
    with running(once(models[0])) as client:
        for begun in (b"", b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n"):
            with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=30) as one:
                one.sendall(begun)
                assert one.recv(1) == b""  # it has closed
        assert client.post("/v1/predict", **RAW).status_code == 200


def test_without_a_model_it_says_so_and_lives() -> None:
    def none() -> Served | None:
        raise OSError("the registry is away")

    with running(none, ready=False) as client:
        assert client.get("/healthz").status_code == 200
        for answer in (client.get("/readyz"), client.post("/v1/predict", **RAW), client.get("/v1/model")):
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert "segmodels_failed_polls_total" in client.get("/metrics").text


def test_another_champion_loses_no_request_and_answers_are_of_one_model(models: list[Served]) -> None:
    turns = itertools.cycle(models)
    with running(lambda: next(turns)) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/predict", **RAW), range(400)))
    assert {answer.status_code for answer in answers} == {200}
    for answer in answers:
        mask = np.asarray(Image.open(io.BytesIO(answer.content)))
        assert (mask == int(answer.headers[VERSION_HEADER])).all()
    assert len({answer.headers[VERSION_HEADER] for answer in answers}) == 4


def test_requests_need_the_key_where_there_is_one(models: list[Served]) -> None:
    with running(once(models[0]), api_key="open sesame") as client:
        assert client.post("/v1/predict", **RAW).status_code == 401
        wrong = RAW["headers"] | {KEY_HEADER: "sesame"}
        assert client.post("/v1/predict", content=RAW["content"], headers=wrong).status_code == 401
        right = RAW["headers"] | {KEY_HEADER: "open sesame"}
        assert client.post("/v1/predict", content=RAW["content"], headers=right).status_code == 200
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        assert client.get("/openapi.json").json()["paths"]["/v1/predict"]["post"]["security"] == [{"APIKeyHeader": []}]


def test_prometheus_is_told(client: httpx.Client) -> None:
    client.post("/v1/predict", **RAW)
    client.post("/v1/predict", content=b"x")
    told = client.get("/metrics").text
    assert 'segmodels_requests_total{status="200"}' in told and 'segmodels_requests_total{status="422"}' in told
    assert "segmodels_request_seconds_bucket" in told and "segmodels_batch_images_count" in told


def test_its_description_names_all_it_answers_with(client: httpx.Client) -> None:
    told = client.get("/openapi.json").json()
    assert "security" not in told["paths"]["/v1/predict"]["post"]  # of one that wants a key it is there
    assert set(told["paths"]) == {"/healthz", "/readyz", "/metrics", "/v1/model", "/v1/predict"}
    assert {"200", "401", "408", "413", "415", "422", "429", "503"} <= set(told["paths"]["/v1/predict"]["post"]["responses"])


@pytest.mark.slow
def test_requests_that_nobody_thought_of_are_answered_as_described(client: httpx.Client, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    # as the description has it any bytes may be an image
    command = [str(program), "run", f"{client.base_url}/openapi.json", "--exclude-checks", "positive_data_acceptance"]
    command += ["--max-examples", "300", "--seed", "1", "--no-color"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=600, env=clean_environment(), check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert client.post("/v1/predict", **RAW).status_code == 200
