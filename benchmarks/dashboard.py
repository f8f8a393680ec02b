"""How soon the dashboard shows something, and answers, with much to show: real pages in a browser over records and scores that are made up.

    .venv/bin/python -m segmodels.environment .venv/bin/python benchmarks/dashboard.py        five minutes; needs Debian's chromium

The time is from asking for the page until the best mIoU stands there and the first chart is drawn; that of a filter until the chart has changed.
Memory is of the dashboard's process when it has shown every page.
"""

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer
from many_candidates import write
from measured import folder, machine
from mlflow.entities import Metric, Param
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from segmodels import atomic, tracking
from segmodels.compare import compare
from segmodels.confusions import CELLS, Confusions
from segmodels.dataset import open_dataset
from segmodels.ledger import Ledger
from segmodels.prepare import prepare
from segmodels.store import Store

CANDIDATES, SIDE = 10, 24
ARCHITECTURES = ("unet", "pspnet", "fcn")
PAGES = ("", "compare", "failures", "data", "retrains", "model")


def main(
    runs: int = 1000,
    classes: int = 30,
    images: int = 5000,
    rounds: int = 5,
    work: Annotated[Path | None, typer.Option(help="Where it is made, and found again.")] = None,
) -> None:
    """First paint, a filter's change, and memory."""
    with folder(work) as root:
        if not (root / "reports").is_dir():
            made(root, runs, classes, images)
        with served(root) as (port, process), sync_playwright() as tools:
            browser = tools.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
            first = painted(browser, port)
            painted_s = [painted(browser, port) for _ in range(rounds)]
            filtered_s = filtered(browser, port, rounds)
            for path in PAGES:
                page = browser.new_page()
                page.goto(f"http://127.0.0.1:{port}/{path}")
                page.wait_for_selector("h1")
                page.wait_for_timeout(6000)
                page.close()
            memory = psutil.Process(process.pid).memory_full_info().uss / 2**20
            browser.close()
        typer.echo(
            f"{runs} runs, {classes} classes, {images} test images: first paint {statistics.median(painted_s):.1f} s (the very first "
            f"{first:.1f} s), a filter {statistics.median(filtered_s):.2f} s, memory {memory:.0f} MB, on {machine()}"
        )


def made(root: Path, runs: int, classes: int, images: int) -> None:
    """A project: params, a prepared dataset, scored candidates, and MLflow's records."""
    rng = np.random.default_rng(0)
    dataset(root / "raw", classes, images, rng)
    usual = (Path(__file__).parent.parent / "params.yaml").read_text(encoding="utf-8")
    (root / "params.yaml").write_text(re.sub("^project: .*", "project: many", usual, flags=re.MULTILINE), encoding="utf-8")
    with Ledger() as ledger:
        prepare(
            open_dataset(root / "raw"),
            root / "data" / "prepared",
            ledger=ledger,
            kept=root / "kept",
            facts=root / "data" / "facts",
            method="given",
            group_pattern=None,
            val=0.1,
            test=0.1,
            seed=0,
        )
    store = Store(root / "data" / "prepared")
    names = [f"candidate-{number}" for number in range(CANDIDATES)]
    for number, name in enumerate(names):
        told = root / "data" / "evaluated" / name
        write(told, store, rng, quality=0.7 + 0.02 * number)
        cells = rng.integers(0, 50, (classes, classes))
        Confusions(classes).table().to_parquet(told / CELLS, index=False)
        scores = json.loads((told / "scores.json").read_text())
        scores |= {
            "bundle_sha256": f"{number:064x}",
            "confusion": cells.tolist(),
            "slices": {},
            "objects": [],
            "calibration": {"error": 0.1},
        }
        (told / "scores.json").write_text(json.dumps(scores))
        epochs = [{"epoch": epoch, "val_miou": 0.5, "train_loss": 1 / epoch, "seconds": 1.0} for epoch in range(1, 51)]
        atomic.write_json(
            root / "reports" / name / "training.json", {"params": {"seed": number}, "epochs": epochs, "seconds": 50.0}
        )
    compare(store.folder, root / "data" / "evaluated", root / "reports", candidates=names)
    records(root, runs, classes, names, rng)


def dataset(raw: Path, classes: int, images: int, rng: np.random.Generator) -> None:
    for name in ("images", "masks"):
        (raw / name).mkdir(parents=True)
    lines = ["id,split"]
    for number in range(images + 120):
        name = f"i{number:05}"
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(raw / "images" / f"{name}.png")
        blocks = rng.integers(0, classes, (4, 4)).astype(np.uint8)
        Image.fromarray(np.kron(blocks, np.ones((SIDE // 4, SIDE // 4), np.uint8))).save(raw / "masks" / f"{name}.png")
        lines.append(f"{name},{'test' if number < images else 'val' if number % 2 else 'train'}")
    (raw / "samples.csv").write_text("\n".join(lines) + "\n")
    listed = [{"id": index, "name": f"class {index}"} for index in range(classes)]
    (raw / "classes.json").write_text(json.dumps({"classes": listed}))


def records(root: Path, runs: int, classes: int, names: list[str], rng: np.random.Generator) -> None:
    """As many runs of candidates, of a hundredth as many retrainings, the last of which are those that were compared."""
    os.environ[tracking.VARIABLE] = f"sqlite:///{root / 'mlflow.db'}"
    client = tracking.connect()
    experiment = client.create_experiment("many", artifact_location=(root / "mlruns").as_uri())
    parent = ""
    for number in range(runs):
        if number % 100 == 0:
            parent = client.create_run(
                experiment, run_name="retrain", tags={"segmodels.kind": "retrain", tracking.STARTED: "by the clock"}
            ).info.run_id
            client.log_artifact(parent, str(root / "reports" / "leaderboard.json"), "reports")
            client.set_tag(parent, "segmodels.verdict", "keep: no better")
            client.set_terminated(parent)
        name, bundle = names[number % len(names)], f"{(number - runs + len(names)) % runs:064x}"
        tags = {"segmodels.kind": "candidate", tracking.BUNDLE: bundle, "mlflow.parentRunId": parent}
        run = client.create_run(experiment, run_name=name, tags=tags)
        metrics = [Metric(f"test_iou/class {index}", float(rng.random()), 0, 0) for index in range(classes)]
        params = [Param("architecture", ARCHITECTURES[number % len(ARCHITECTURES)]), Param("encoder", "resnet18")]
        client.log_batch(run.info.run_id, metrics=[*metrics, Metric("training_seconds", 100.0, 0, 0)], params=params)
        client.set_terminated(run.info.run_id)


@contextmanager
def served(root: Path) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    program = str(Path(sys.executable).with_name("segmodels"))
    environment = os.environ | {tracking.VARIABLE: f"sqlite:///{root / 'mlflow.db'}"}
    process = subprocess.Popen([program, "dashboard", "--port", str(port)], cwd=root, env=environment)
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5)
                break
            except OSError:
                if process.poll() is not None:
                    raise typer.BadParameter("the dashboard has ended") from None
                time.sleep(0.1)
        yield port, process
    finally:
        process.terminate()
        process.wait()


def painted(browser: Browser, port: int) -> float:
    page = browser.new_page()
    began = time.perf_counter()
    shown(page, port)
    seconds = time.perf_counter() - began
    page.close()
    return seconds


def shown(page: Page, port: int) -> None:
    page.goto(f"http://127.0.0.1:{port}/", wait_until="commit")
    page.get_by_test_id("stMetricValue").first.wait_for()
    page.locator(".js-plotly-plot .ytick text").first.wait_for()


def filtered(browser: Browser, port: int, rounds: int) -> list[float]:
    """Only one architecture's candidates are asked for, and all again; until the chart has other rows."""
    page = browser.new_page()
    shown(page, port)
    page.wait_for_timeout(4000)
    rows, asked = (
        page.locator(".js-plotly-plot").first.locator(".ytick text"),
        page.get_by_test_id("stMultiSelect").locator("input"),
    )
    found = []
    for number in range(2 * rounds):
        before = rows.count()
        if number % 2 == 0:
            asked.fill(ARCHITECTURES[0])
            began = time.perf_counter()
            page.get_by_role("option", name=ARCHITECTURES[0], exact=True).click()
        else:
            began = time.perf_counter()
            asked.press("Backspace")
        expect(rows).not_to_have_count(before)
        found.append(time.perf_counter() - began)
        page.wait_for_timeout(1000)
    page.close()
    return found


if __name__ == "__main__":
    typer.run(main)
