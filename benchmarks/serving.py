"""What the service can take: requests a second, how long they wait, garbage, and champions that change while it is killed.

    .venv/bin/python -m segmodels.environment .venv/bin/python benchmarks/serving.py load        trains a U-Net for ten minutes first, then five minutes
    .venv/bin/python -m segmodels.environment .venv/bin/python benchmarks/serving.py garbage     the same network; 10,000 requests, five minutes
    .venv/bin/python -m segmodels.environment .venv/bin/python benchmarks/serving.py harm        the same network; three minutes
    .venv/bin/python -m segmodels.environment .venv/bin/python benchmarks/serving.py swaps       100,000 requests, ten minutes; needs no training

The service is a process of its own on loopback; who asks it, and who sends harm, is another, on the same cores.
"""

import asyncio
import io
import itertools
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import numpy as np
import psutil
import torch
import typer
import uvicorn
from measured import folder, machine
from PIL import Image
from prediction import Work, trained

from segmodels import bundle, network, service
from segmodels.batching import Served
from segmodels.http_limits import Impatient
from segmodels.predict import Predictor
from segmodels.predicted_files import Wanted, find, predict_files
from segmodels.samples import SegmentationClass
from segmodels.service import VERSION_HEADER

app = typer.Typer(add_completion=False, no_args_is_help=True)
PREDICT = "/v1/predict"
ASKING = 16
"""Requests under way at once where as many as can be are wanted: two batches."""


@app.command()
def load(images: int = 300, rounds: int = 5, seconds: float = 60.0, share: float = 0.8, work: Work = None) -> None:
    """Requests a second against predicting the same files alone; then how long they wait at a share of that load."""
    with folder(work) as root:
        store, loaded = trained(root, epochs=8)
        files = [root / "asked" / f"{n}.png" for n in range(images)]
        files[0].parent.mkdir(exist_ok=True)
        for path, row in zip(files, itertools.cycle(store.rows("test")), strict=False):
            Image.fromarray(np.array(store.image(row))).save(path)
        contents = [path.read_bytes() for path in files]
        predictor = Predictor(loaded)
        predictor.warm_up()
        with served([loaded.folder]) as (port, _):
            alone, asked = [], []
            for turn in range(rounds + 1):
                alone.append(predicted_alone(predictor, files, root / "masks"))
                asked.append(images / asyncio.run(ask_all(port, contents, ASKING)))
                if turn:
                    typer.echo(f"alone {alone[-1]:.1f}, served {asked[-1]:.1f} images a second")
            ratio = statistics.median(one / other for one, other in zip(asked[1:], alone[1:], strict=True))
            most = statistics.median(asked[1:])
            typer.echo(f"{most:.1f} requests a second, {ratio:.2f} of {statistics.median(alone[1:]):.1f} images a second alone")
            waited = sorted(asyncio.run(ask_steadily(port, contents, share * most, seconds)))
            median, p99 = statistics.median(waited), waited[int(0.99 * len(waited))]
            typer.echo(
                f"at {share * most:.1f} a second, {len(waited)} requests: median {1000 * median:.1f} ms, p99 {1000 * p99:.1f} ms, "
                f"{p99 / median:.1f} times as long"
            )
        typer.echo(f"on {machine()}")


@app.command()
def harm(rate: float = 10.0, seconds: float = 30.0, rounds: int = 3, work: Work = None) -> None:
    """How long images wait while, each second, somebody sends what is made to do harm, against how long they wait otherwise, in turns."""
    with folder(work) as root:
        store, loaded = trained(root, epochs=8)
        contents = [png(np.array(store.image(row))) for row in store.rows("test")]
        waited: dict[bool, list[list[float]]] = {False: [], True: []}
        with served([loaded.folder]) as (port, _):
            asyncio.run(ask_steadily(port, contents, rate, 5))
            for _ in range(rounds):
                for harmed, found in waited.items():
                    bombs = begun_to_harm(port, seconds) if harmed else None
                    found.append(sorted(asyncio.run(ask_steadily(port, contents, rate, seconds))))
                    if bombs is not None and bombs.wait():
                        raise typer.Exit(1)
        p99 = {harmed: statistics.median(one[int(0.99 * len(one))] for one in found) for harmed, found in waited.items()}
        middle = {harmed: statistics.median(one[len(one) // 2] for one in found) for harmed, found in waited.items()}
        typer.echo(
            f"median {1000 * middle[False]:.0f} ms, with harm {1000 * middle[True]:.0f} ms; p99 {1000 * p99[False]:.0f} ms, "
            f"with harm {1000 * p99[True]:.0f} ms: {p99[True] / p99[False]:.1f} times as long, on {machine()}"
        )


def begun_to_harm(port: int, seconds: float) -> "subprocess.Popen[str]":
    """Another process that does, once it has loaded what it needs, which takes the cores too."""
    process = subprocess.Popen([sys.executable, __file__, "bombs", str(port), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline()
    return process


@app.command(hidden=True)
def bombs(port: int, seconds: float) -> None:
    """A million fields, ten thousand headers of a part, a thousand ranges: one a second, by turns."""
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n'
    headers = b"".join(b"X-H%d: y\r\n" % number for number in range(10_000))
    every: list[tuple[bytes, dict[str, str]]] = [
        (b"&".join(b"a%d=1" % number for number in range(1_000_000)), {"Content-Type": "application/x-www-form-urlencoded"}),
        (part + headers + b"\r\nabc\r\n--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}),
        (b"abc", {"Content-Type": "image/png", "Range": "bytes=" + ",".join(f"{n}-" for n in range(1000))}),
    ]

    async def send() -> None:
        until = time.perf_counter() + seconds
        async with asking(port) as session:
            for content, told in itertools.cycle(every):
                if time.perf_counter() > until:
                    return
                async with session.post(PREDICT, data=content, headers=told) as answer:
                    assert answer.status == 422, await answer.text()
                await asyncio.sleep(1)

    print("ready", flush=True)
    asyncio.run(send())


def predicted_alone(predictor: Predictor, files: Sequence[Path], out: Path) -> float:
    """Files a second without a service, masks alone, once the processes that decode have started."""
    targets = find([str(files[0].parent)], out)
    results = predict_files(predictor, targets, out, Wanted(overlay=False))
    assert next(results)[1] is None
    start = time.perf_counter()
    assert all(reason is None for _, reason in results)
    return (len(targets) - 1) / (time.perf_counter() - start)


async def ask_all(port: int, contents: Sequence[bytes], at_once: int) -> float:
    """Seconds until all are answered, so many at a time."""
    waiting = iter(contents)
    start = time.perf_counter()
    async with asking(port) as session:

        async def one_after_another() -> None:
            for content in waiting:
                async with session.post(PREDICT, data=content) as answer:
                    assert answer.status == 200, await answer.text()
                    await answer.read()

        await asyncio.gather(*(one_after_another() for _ in range(at_once)))
    return time.perf_counter() - start


async def ask_steadily(port: int, contents: Sequence[bytes], rate: float, seconds: float) -> list[float]:
    """The seconds that each of the requests took that come at random, `rate` a second, whether others are answered or not."""
    gaps = np.random.default_rng(0).exponential(1 / rate, int(rate * seconds))
    async with asking(port) as session:

        async def ask(content: bytes, at: float) -> float:
            async with session.post(PREDICT, data=content) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()
            return time.perf_counter() - at

        due, tasks = time.perf_counter(), []
        for content, gap in zip(itertools.cycle(contents), gaps, strict=False):
            due += gap
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(ask(content, due)))
        return await asyncio.gather(*tasks)


@app.command()
def garbage(requests: int = 10_000, work: Work = None) -> None:
    """Images with what is none between them: each is to get the answer that is due, and memory and descriptors to stay as they were."""
    with folder(work) as root:
        store, loaded = trained(root, epochs=8)
        predictor = Predictor(loaded)
        images = [np.array(store.image(row)) for row in store.rows("test")[:20]]
        expected = [predictor(image) for image in images]
        with served([loaded.folder]) as (port, process):
            asyncio.run(ask_garbage(port, images, expected, requests // 10, seed=0))  # until every buffer is as large as it gets
            before = held(process)
            found = asyncio.run(ask_garbage(port, images, expected, requests, seed=1))
            after = held(process)
            assert process.is_running()
        typer.echo(f"{requests} requests: " + ", ".join(f"{count} {what}" for what, count in sorted(found.items())))
        typer.echo(f"memory {before[0]:.0f} MB, then {after[0]:.0f} MB; descriptors {before[1]}, then {after[1]}")
        typer.echo(f"on {machine()}")
        if found.keys() - {"as due"}:
            raise typer.Exit(1)


def held(process: psutil.Process) -> tuple[float, int]:
    """The memory, MB, and the descriptors of a process and its children."""
    time.sleep(2)  # connections that were just closed
    every = [process, *process.children(recursive=True)]
    return sum(one.memory_info().rss for one in every) / 2**20, sum(one.num_fds() for one in every)


async def ask_garbage(port: int, images: list[np.ndarray], expected: list[np.ndarray], count: int, *, seed: int) -> Counter[str]:
    rng = np.random.default_rng(seed)
    pngs = [png(image) for image in images]
    found: Counter[str] = Counter()
    waiting = iter(range(count))
    async with asking(port) as session:

        async def one_after_another() -> None:
            for _ in waiting:
                which = int(rng.integers(len(images)))
                if rng.random() < 0.5:
                    found[await ask_right(session, pngs[which], expected[which])] += 1
                else:
                    way = GARBAGE[int(rng.integers(len(GARBAGE)))]
                    found[await way(session, pngs[which], rng, port)] += 1

        await asyncio.gather(*(one_after_another() for _ in range(ASKING)))
    return found


async def ask_right(session: aiohttp.ClientSession, content: bytes, expected: np.ndarray) -> str:
    async with session.post(PREDICT, data=content) as answer:
        body = await answer.read()
    if answer.status != 200:
        return f"images refused with {answer.status}"
    return "as due" if (np.asarray(Image.open(io.BytesIO(body))) == expected).mean() > 0.999 else "wrong masks"


Garbage = Callable[[aiohttp.ClientSession, bytes, np.random.Generator, int], Awaitable[str]]


async def refused(session: aiohttp.ClientSession, status: int, **sent: Any) -> str:
    async with session.post(PREDICT, **sent) as answer:
        told = await answer.json()
    return "as due" if answer.status == status and told["detail"] else f"{answer.status} instead of {status}"


async def cut(session: aiohttp.ClientSession, content: bytes, rng: np.random.Generator, _: int) -> str:
    return await refused(session, 422, data=content[: int(rng.integers(len(content) - 12))])


async def noise(session: aiohttp.ClientSession, _: bytes, rng: np.random.Generator, __: int) -> str:
    return await refused(session, 422, data=rng.bytes(int(rng.integers(5_000))))


async def bomb(session: aiohttp.ClientSession, content: bytes, _: np.random.Generator, __: int) -> str:
    side = (60_000).to_bytes(4, "big")
    header = content[12:16] + side + side + content[24:29]
    return await refused(session, 413, data=content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:])


async def other_type(session: aiohttp.ClientSession, content: bytes, _: np.random.Generator, __: int) -> str:
    return await refused(session, 415, data=content, headers={"Content-Type": "text/html"})


async def no_form(session: aiohttp.ClientSession, content: bytes, _: np.random.Generator, __: int) -> str:
    return await refused(session, 422, data=content, headers={"Content-Type": "multipart/form-data; boundary=x"})


async def fields(session: aiohttp.ClientSession, _: bytes, __: np.random.Generator, ___: int) -> str:
    return await refused(session, 422, data=aiohttp.FormData([(f"f{n}", "x") for n in range(100)], default_to_multipart=True))


async def gone(_: aiohttp.ClientSession, content: bytes, rng: np.random.Generator, port: int) -> str:
    """Sends half of a body and leaves."""
    _unread, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n".encode())
    writer.write(content[: int(rng.integers(len(content)))])
    await writer.drain()
    writer.close()
    return "as due"


async def no_http(_: aiohttp.ClientSession, __: bytes, rng: np.random.Generator, port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(rng.bytes(200) + b"\r\n\r\n")
    await writer.drain()
    await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return "as due"


GARBAGE: list[Garbage] = [cut, noise, bomb, other_type, no_form, fields, gone, no_http]


@app.command()
def swaps(requests: int = 100_000, kills: int = 10, work: Work = None) -> None:
    """Another champion several times a second, and the service killed now and then: an answer is always of the model it names."""
    with folder(work) as root:
        classes = [SegmentationClass(f"c{index}", index, (60 * index, 9, 9)) for index in range(4)]
        models = [constant(root / f"m{index}", index, classes) for index in range(4)]
        content = png(np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8))
        found: Counter[str] = Counter()
        for part in range(kills + 1):
            wanted = requests * (part + 1) // (kills + 1)
            with served(models, poll_s=0.05) as (port, process):
                asyncio.run(ask_until(port, content, found, wanted))
                if part < kills:
                    asyncio.run(ask_and_kill(port, content, found, process))
        typer.echo(f"{found.total()} requests, {kills} kills: " + ", ".join(f"{n} {what}" for what, n in sorted(found.items())))
        typer.echo(f"on {machine()}")
        if "mixed" in found:
            raise typer.Exit(1)


def constant(at: Path, index: int, classes: list[SegmentationClass]) -> Path:
    """A network that sees one class everywhere: its mask says which one answered."""
    facts: dict[str, Any] = {"architecture": "unet", "encoder": "resnet18", "options": {"decoder_channels": [8, 8]}}
    segmenter = network.build(**facts, weights=None, num_logits=len(classes), mean=[0, 0, 0], std=[1, 1, 1])
    with torch.no_grad():
        for parameter in segmenter.parameters():
            parameter.zero_()
        segmenter.network.get_submodule("segmentation_head.0").get_parameter("bias")[index] = 1.0
    bundle.save(
        at,
        segmenter,
        **facts,
        candidate=at.name,
        task="multiclass",
        classes=classes,
        size_px=(32, 64),
        scale=1.0,
        largest_px=(32, 64),
        training={},
        dataset_sha256="0" * 64,
        git_commit=None,
        export="none",
    )
    return at


async def ask_until(port: int, content: bytes, found: Counter[str], wanted: int) -> None:
    async with asking(port) as session:

        async def one_after_another() -> None:
            while found.total() < wanted:
                found[await ask_constant(session, content)] += 1

        await asyncio.gather(*(one_after_another() for _ in range(ASKING)))


async def ask_and_kill(port: int, content: bytes, found: Counter[str], process: psutil.Process) -> None:
    """With requests under way."""
    async with asking(port) as session:
        tasks = [asyncio.create_task(ask_constant(session, content)) for _ in range(ASKING)]
        await asyncio.sleep(0.01)
        for one in (*process.children(recursive=True), process):
            one.send_signal(signal.SIGKILL)
        for task in tasks:
            found[await task] += 1


async def ask_constant(session: aiohttp.ClientSession, content: bytes) -> str:
    try:
        async with session.post(PREDICT, data=content) as answer:
            body = await answer.read()
    except aiohttp.ClientError:
        return "unanswered, as it was killed"
    if answer.status != 200:
        return f"refused with {answer.status}"
    mask = np.asarray(Image.open(io.BytesIO(body)))
    return "right" if (mask == int(answer.headers[VERSION_HEADER])).all() else "mixed"


@app.command(hidden=True)
def host(bundles: list[Path], port: Annotated[int, typer.Option()], poll_s: Annotated[float, typer.Option()] = 5.0) -> None:
    """The service on bundles, each for one poll; one bundle for ever."""
    found = [Served(str(number), Predictor(bundle.load(one))) for number, one in enumerate(bundles)]
    for one in found:
        one.predictor.warm_up()
    turns = itertools.cycle(found) if len(found) > 1 else iter(found)
    application = service.build(lambda: next(turns, None), limits=service.Limits(poll_s=poll_s), say=lambda _: None)
    uvicorn.run(application, host="127.0.0.1", port=port, log_level="error", http=Impatient)


@contextmanager
def served(bundles: Sequence[Path], *, poll_s: float = 5.0) -> Iterator[tuple[int, psutil.Process]]:
    """The service in a process of its own; its port and the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "host", *map(str, bundles), "--port", str(port), "--poll-s", str(poll_s)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONUNBUFFERED": "1"}) as process:
        try:
            asyncio.run(until_ready(port))
            yield port, psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGINT)


async def until_ready(port: int) -> None:
    deadline = time.monotonic() + 120
    async with asking(port) as session:
        while time.monotonic() < deadline:
            try:
                async with session.get("/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    raise TimeoutError("the service did not start")


def asking(port: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=aiohttp.TCPConnector(limit=0))


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()


if __name__ == "__main__":
    app()
