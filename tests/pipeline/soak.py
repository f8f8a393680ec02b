"""Faults at random while the servers of `make up` retrain: what they promise is looked at after every one of them.

    .venv/bin/python -m tests.pipeline.soak --faults 60 --seed 1       some twenty minutes on two cores

Datasets come one after the other; while they are retrained on, processes are killed or stopped. Between two datasets everything must be as if
nothing had happened: one version of each bundle, the champion among them and whole, every dataset trained on, no epoch repeated
beyond what a kill costs, nothing left running that nobody started.
"""

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil
from mlflow import MlflowClient

from segmodels import bundle, shapes
from tests.conftest import PARAMS
from tests.pipeline.stacks import Stack, stack

EPOCHS = 12
SOAKED = PARAMS.replace("epochs: 2", f"epochs: {EPOCHS}") + "schedule: {cron: null, watch_seconds: 1}\n"
VICTIMS = {
    "trainer": "segmodels train",
    "stage": "repro -s",
    "flow": "prefect.engine",
    "worker": "prefect worker",
    "prefect": "prefect server",
    "mlflow": "mlflow server",
    "watcher": "flows.supervised watcher",
    "supervisor": "supervisor.supervisord",
    "everything": "",
}


def soak(servers: Stack, work: Path, *, faults: int, seed: int, gap_s: float) -> Counter[str]:
    """Returns how often what was done, and how many datasets were retrained on."""
    draw = random.Random(seed)
    tally: Counter[str] = Counter()
    servers.up()
    while sum(tally.values()) - tally["datasets"] < faults:
        tally["datasets"] += 1
        add(servers, work, number=tally["datasets"])
        before = len(servers.outcomes())
        killed_trainings = 0
        while len(servers.outcomes()) == before:
            end = time.monotonic() + draw.expovariate(1 / gap_s)
            while time.monotonic() < end and len(servers.outcomes()) == before:
                time.sleep(0.2)
            if len(servers.outcomes()) > before or sum(tally.values()) - tally["datasets"] >= faults:
                servers.wait(lambda: len(servers.outcomes()) > before, seconds=600)  # noqa: B023 it is of this turn
                break
            kind = draw.choice(list(VICTIMS))
            if fault(servers, kind, draw):
                tally[kind] += 1
                killed_trainings += 1
        check(servers, datasets=tally["datasets"], kills=killed_trainings)
    return tally


def add(servers: Stack, work: Path, *, number: int) -> None:
    """A dataset with some images more than the one before."""
    source = work / "source"
    shapes.write(work / f"drawn-{number}", count=24 if number == 1 else 4, size_px=(48, 64), seed=number)
    for path in (work / f"drawn-{number}").rglob("*"):
        if path.is_file():
            folder = source / path.relative_to(work / f"drawn-{number}").parent
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / (path.name if path.suffix == ".json" else f"{number}-{path.name}"))
    servers.project.make("data", f"SOURCE={source}")


def fault(servers: Stack, kind: str, draw: random.Random) -> bool:
    """Kill one of the victims, or stop it for some seconds; false where none runs. What was ended for good is started again."""
    found = servers.processes(VICTIMS[kind])
    if not found:
        return False
    stopped = kind not in ("supervisor", "everything") and draw.random() < 0.25
    for process in found if kind == "everything" else [draw.choice(found)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGSTOP if stopped else signal.SIGKILL)
    if stopped:
        time.sleep(draw.uniform(2, 10))
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
    if kind in ("supervisor", "everything"):
        servers.up()
    return True


def check(servers: Stack, *, datasets: int, kills: int) -> None:
    """What must hold between two datasets, whatever was killed."""
    folder, client = servers.project.folder, servers.project.client
    settled(servers)
    outcomes = servers.outcomes()
    assert [one["event"] for one in outcomes].count("failed") == 0, outcomes
    versions = client.search_model_versions("name = 'tiny'")
    bundles = [one.tags["segmodels.bundle_sha256"] for one in versions]
    assert len(bundles) == len(set(bundles)), "a bundle was registered twice"
    assert len(outcomes) == datasets, "a dataset was told of twice, or never"
    assert len(versions) == datasets, "a dataset has no version, or two"
    champion = client.get_model_version_by_alias("tiny", "champion")
    assert "segmodels.verdict" in champion.tags
    assert loaded(client, champion.version) == champion.tags["segmodels.bundle_sha256"]
    for name in ("unet", "pspnet"):
        log = json.loads((folder / "reports" / name / "training.json").read_text())
        assert [one["epoch"] for one in log["epochs"]] == list(range(1, len(log["epochs"]) + 1))
        assert hash_of(folder / "bundles" / name) == log["bundle_sha256"]
    told = re.findall(r"(unet|pspnet): epoch (\d+) of", (folder / ".segmodels" / "servers" / "retrain.log").read_text())
    most = 2 * EPOCHS + kills  # a kill costs the epoch under way; one between the end of an epoch and its save costs that one too
    assert len(told) <= most, f"{len(told)} epochs were told, at most {most} are due"
    (folder / ".segmodels" / "servers" / "retrain.log").write_text("")
    stray = [
        path
        for root in ("bundles", "reports", "data", ".segmodels/checkpoints")
        for path in (folder / root).rglob(".*.partial-*")
    ]
    assert stray == []


def settled(servers: Stack) -> None:
    """Wait until nothing is retrained any more, and no flow run goes on without a process."""
    ended = {"COMPLETED", "CRASHED", "CANCELLED", "FAILED"}
    servers.wait(lambda: all(one["state_type"] in ended for one in servers.runs()), seconds=400)
    servers.wait(lambda: servers.runs()[-1]["state_type"] == "COMPLETED", seconds=400)


def loaded(client: MlflowClient, version: str) -> str:
    """The hash of a version's bundle as the registry has it now."""
    with tempfile.TemporaryDirectory() as work:
        source = client.get_model_version_download_uri("tiny", version)
        found = next(Path(source.removeprefix("file://")).rglob(bundle.FACTS))
        shutil.copytree(found.parent, Path(work) / "bundle")
        return bundle.load(Path(work) / "bundle").sha256


def hash_of(folder: Path) -> str:
    return bundle.load(folder).sha256


def main(arguments: Sequence[str] | None = None) -> None:
    """Soak, and print the tally."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gap-s", type=float, default=8.0)
    chosen = parser.parse_args(arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as work, stack(Path(work) / "project", SOAKED) as servers:
        tally = soak(servers, Path(work), faults=chosen.faults, seed=chosen.seed, gap_s=chosen.gap_s)
        servers.down()
        assert servers.processes() == []
    print(
        f"seed {chosen.seed}, {time.monotonic() - began:.0f} s, {os.cpu_count()} cores: "
        + ", ".join(f"{n} {what}" for what, n in tally.items())
    )
    print("0 lost, 0 doubled")


if __name__ == "__main__":
    main()
