"""What Prefect, DVC and MLflow cost beside the stages themselves, and what two trainings at once gain.

    .venv/bin/python -m segmodels.environment .venv/bin/python benchmarks/orchestration.py unchanged     three minutes
    .venv/bin/python -m segmodels.environment .venv/bin/python benchmarks/orchestration.py check         three minutes
    .venv/bin/python -m segmodels.environment .venv/bin/python benchmarks/orchestration.py graph         a few minutes
    .venv/bin/python -m segmodels.environment .venv/bin/python benchmarks/orchestration.py overhead      half an hour
    .venv/bin/python -m segmodels.environment .venv/bin/python benchmarks/orchestration.py slots         a quarter of an hour

Each works in fresh clones of the commit that is checked out, on the drawn dataset of the demo.
"""

import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer
import yaml
from measured import Memory, machine

app = typer.Typer(add_completion=False, no_args_is_help=True)
REPOSITORY = Path(__file__).parent.parent
CANDIDATES: dict[str, dict[str, Any]] = {
    "unet": {"architecture": "unet"},
    "pspnet": {"architecture": "pspnet", "options": {"depth": 3}},
    "fcn": {"architecture": "fcn"},
    "fpn": {"architecture": "fpn"},
    "linknet": {"architecture": "linknet"},
    "deeplabv3plus": {"architecture": "deeplabv3plus"},
}
NO_THREADS = MappingProxyType({"OMP_NUM_THREADS": "1"})


@app.command()
def unchanged(rounds: int = 5) -> None:
    """`make retrain` with nothing to do, while the servers of `make up` run."""
    with project(candidates=["pspnet"], epochs=1) as folder:
        run(folder, "segmodels", "up")
        try:
            run(folder, "flows.retrain")
            taken = [run(folder, "flows.retrain") for _ in range(rounds)]
        finally:
            run(folder, "segmodels", "down")
        typer.echo(f"nothing to do: {told(taken)} on {machine()}")


@app.command()
def check(rounds: int = 9) -> None:
    """Whether anything is due, asked in process as the watcher does every so often, against the command `dvc repro`, in turns."""
    from flows import stage_graph, versioned
    from segmodels.project import RAW

    with project(candidates=["pspnet"], epochs=1) as folder, contextlib.chdir(folder):
        run(folder, "flows.retrain")
        ours, theirs = list[float](), list[float]()
        for number in range(rounds + 1):
            began = time.perf_counter()
            if versioned.version_dataset(RAW) or stage_graph.stale({}):
                raise typer.BadParameter("something is due")
            middle = time.perf_counter()
            subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], check=True, capture_output=True)
            if number:  # the first time there is more to read
                ours.append(middle - began)
                theirs.append(time.perf_counter() - middle)
        ratios = [other / one for one, other in zip(ours, theirs, strict=True)]
        typer.echo(
            f"asked in process {1e3 * statistics.median(ours):.0f} ms, `dvc repro` {1e3 * statistics.median(theirs):.0f} ms: "
            f"{statistics.median(ratios):.1f} times as long ({min(ratios):.1f} to {max(ratios):.1f}), on {machine()}"
        )


@app.command()
def graph(
    numbers: Annotated[list[int] | None, typer.Argument(help="How many candidates. [default: 10 100 1000]")] = None,
) -> None:
    """Finding out what is due where nothing has run yet, as candidates become many: seconds and memory."""
    from flows import stage_graph, versioned
    from segmodels.project import RAW

    for number in numbers or (10, 100, 1000):
        with project(candidates=[f"c{index:04}" for index in range(number)], epochs=1) as folder, contextlib.chdir(folder):
            versioned.version_dataset(RAW)
            began = time.perf_counter()
            with Memory() as memory:
                stages = stage_graph.stale({})
            taken = time.perf_counter() - began
        typer.echo(
            f"{number:>5} candidates, {len(stages):>5} stages: {taken:.1f} s, {memory.most_mb - memory.before_mb:.0f} MB, on {machine()}"
        )


@app.command()
def overhead(epochs: int = 8, rounds: int = 2) -> None:
    """Six candidates by `make retrain`, with the servers up, against the bare commands of the same stages one after the other."""
    bare, whole = [], []
    for _ in range(rounds):
        with project(candidates=list(CANDIDATES), epochs=epochs) as folder:
            began = time.perf_counter()
            for verb in ("prepare", "augment light", *(f"train {one}" for one in CANDIDATES)):
                run(folder, "segmodels", *verb.split())
            for verb in (*(f"evaluate {one}" for one in CANDIDATES), "compare"):
                run(folder, "segmodels", *verb.split())
            bare.append(time.perf_counter() - began)
        with project(candidates=list(CANDIDATES), epochs=epochs) as folder:
            run(folder, "segmodels", "up")
            try:
                whole.append(run(folder, "flows.retrain"))
            finally:
                run(folder, "segmodels", "down")
        typer.echo(f"bare {bare[-1]:.0f} s, retrain {whole[-1]:.0f} s")
    ratio = statistics.median(one / other for one, other in zip(whole, bare, strict=True))
    typer.echo(f"with the gate, registering and asking the champion: {ratio - 1:.1%} more than the bare commands, on {machine()}")


@app.command()
def slots(epochs: int = 8, rounds: int = 3) -> None:
    """Four trainings that use one thread each, two at once against one after the other."""
    names = list(CANDIDATES)[:4]
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for count, taken in seconds.items():
            with project(candidates=names, epochs=epochs, slots=count) as folder:
                taken.append(run(folder, "flows.retrain", environment=NO_THREADS))
                typer.echo(f"{count} at once: {taken[-1]:.0f} s")
    ratio = statistics.median(two / one for one, two in zip(seconds[1], seconds[2], strict=True))
    typer.echo(f"two at once take {ratio:.2f} of the time, on {machine()}")


@contextmanager
def project(*, candidates: Sequence[str], epochs: int, slots: int = 1) -> Iterator[Path]:
    """A fresh clone with the demo's dataset."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(os.path.realpath(work)) / "project"
        subprocess.run(["git", "clone", "-q", str(REPOSITORY), str(folder)], check=True)
        settings = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
        common: dict[str, Any] = {**settings["candidates"]["unet"], "training": {}}
        settings["candidates"] = {name: common | CANDIDATES.get(name, CANDIDATES["pspnet"]) for name in candidates}
        settings["training"] |= {"epochs": epochs, "early_stopping_patience": None}
        settings["resources"] = {"slots": slots}
        settings["schedule"] = {"cron": None, "watch_seconds": None}
        settings["servers"] = {"mlflow_port": free_port(), "prefect_port": free_port()}
        (folder / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        run(folder, "segmodels", "shapes", "data/drawn")
        run(folder, "segmodels", "ingest", "data/drawn", "--format", "folder")
        subprocess.run([sys.executable, "-m", "dvc", "add", "-q", "data/raw"], cwd=folder, check=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def run(folder: Path, module: str, *arguments: str, environment: Mapping[str, str] = MappingProxyType({})) -> float:
    """The seconds that a program takes; what it says is shown where it fails."""
    program = ["-c", "from flows.cli import main; main()"] if arguments[:1] in (("up",), ("down",)) else ["-m", module]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{module} {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - began


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def told(taken: Sequence[float]) -> str:
    return f"{statistics.median(taken):.1f} s ({min(taken):.1f} to {max(taken):.1f})"


if __name__ == "__main__":
    app()
