"""How cost grows: a training with images, classes and size; bringing in, packing, scoring and comparing with images. Memory beside time.

    python benchmarks/growth.py step                            three minutes on two cores
    python benchmarks/growth.py training                        four minutes
    python benchmarks/growth.py stages                          ten minutes; --counts 100000 beside the others: hours, 5 GB of disk

The exponent is that of the growth from one line to the next: 1 is in proportion, below it something is paid once.
"""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import camvid
import data as data_benchmarks
import numpy as np
import training as steps
import typer
from many_candidates import write as write_scores
from measured import Memory, folder, machine

from segmodels import environment
from segmodels.augment import augment
from segmodels.compare import compare
from segmodels.evaluate import evaluate
from segmodels.objective import Term
from segmodels.optimization import Optimization
from segmodels.plan import Plan, Settings
from segmodels.store import Store
from segmodels.train import Places, train

app = typer.Typer(add_completion=False, no_args_is_help=True)
Work = Annotated[Path | None, typer.Option(help="Where to work; a folder that is removed afterwards if not given.")]
CANDIDATES = 3
SIDE_PX = 32


@app.command()
def step() -> None:
    """A step of U-Net on ResNet-18: by the number of classes (images of 128 x 128), and by the image's side (12 classes)."""
    environment.apply()
    _table("classes", (2, 10, 50, 150), lambda classes: _stepped(side=128, classes=classes))
    _table(
        "pixels of an image",
        tuple(side**2 for side in (128, 256, 512, 1024)),
        lambda area: _stepped(side=math.isqrt(area), classes=12),
    )


def _stepped(*, side: int, classes: int) -> float:
    run, _ = steps.ours("unet", side=side, classes=classes, batch=2)
    run()
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return sorted(taken)[1]


@app.command()
def training(
    counts: Annotated[list[int] | None, typer.Option(help="How many images. [default: 250 500 1000 2000]")] = None,
    work: Work = None,
) -> None:
    """An epoch with its validation, by the number of images."""
    environment.apply()
    with folder(work) as root:
        _table("images", counts or (250, 500, 1000, 2000), lambda count: _epoch(root / str(count), count))


@app.command()
def stages(
    counts: Annotated[list[int] | None, typer.Option(help="How many images. [default: 100 1000 10000]")] = None, work: Work = None
) -> None:
    """`prepare`, `evaluate` and `compare`, by the number of images; two thirds of them are tested."""
    environment.apply()
    numbers = sorted(counts or (100, 1000, 10_000))
    with folder(work) as root:
        for count in numbers:
            data_benchmarks.draw(root / str(count) / "raw", count, size=SIDE_PX)
        _table("images packed", numbers, lambda count: _packed(root / str(count)))
        _trained(root / str(numbers[0]), epochs=1)
        bundle = root / str(numbers[0]) / "bundle"
        _table("images scored", numbers, lambda count: _scored(root / str(count), bundle))
        _table("images compared on", numbers, lambda count: _compared(root / str(count)))


def _table(of: str, numbers: Sequence[int], measured: Callable[[int], float]) -> None:
    """Print what each takes, with the most memory that it had beyond what was there before."""
    typer.echo(f"{of:>20} {'seconds':>10} {'MB':>8} {'exponent':>9}")
    before: tuple[int, float] | None = None
    for number in numbers:
        with Memory() as memory:
            seconds = measured(number)
        grew = "" if before is None else f"{math.log(seconds / before[1]) / math.log(number / before[0]):.2f}"
        typer.echo(f"{number:>20,} {seconds:>10.2f} {memory.most_mb - memory.before_mb:>8.0f} {grew:>9}")
        before = number, seconds
    typer.echo(f"on {machine()}")


def _packed(root: Path) -> float:
    return data_benchmarks.timed(lambda: data_benchmarks.prepared(root / "raw", root / "store", test=2 / 3))


def _scored(root: Path, bundle: Path) -> float:
    return data_benchmarks.timed(lambda: evaluate(root / "store", bundle, root / "counts", root / "reports"))


def _compared(root: Path) -> float:
    store, rng = Store(root / "store"), np.random.default_rng(0)
    names = [f"candidate-{number}" for number in range(CANDIDATES)]
    for name in names:
        write_scores(root / "many" / name, store, rng, quality=float(rng.uniform(0.7, 0.9)))
    return data_benchmarks.timed(lambda: compare(root / "store", root / "many", root / "compared", candidates=names))


def _epoch(root: Path, count: int) -> float:
    data_benchmarks.draw(root / "raw", count, size=64)
    data_benchmarks.prepared(root / "raw", root / "store", test=0.1)
    return _trained(root, epochs=2)


def _trained(root: Path, *, epochs: int) -> float:
    """Seconds of the last epoch."""
    side = 64 if epochs > 1 else SIDE_PX
    size_px = (side, side)
    augment(root / "store", root / "recipe", recipe="light", options={}, size_px=size_px, seed=0)
    plan = Plan(
        candidate="pspnet",
        architecture="pspnet",
        encoder="resnet18",
        weights=None,
        options=camvid.OPTIONS["pspnet"],
        loss=[Term("cross_entropy", {})],
        schedule="poly",
        schedule_options={},
        optimization=Optimization(learning_rate=1e-3, weight_decay=0.01),
        settings=Settings(size_px=size_px, epochs=epochs, batch_size=8, seed=0),
    )
    seconds = list[float]()
    train(
        plan,
        Places(root / "store", root / "recipe", root / "bundle", root / "log.json", root / "checkpoints", root / "locks"),
        on_epoch=lambda record, _: seconds.append(record.seconds),
    )
    return seconds[-1]


if __name__ == "__main__":
    app()
