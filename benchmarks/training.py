"""What a training step, its loss and its data cost on the CPU, against the ordinary loop, as people write it with smp and albumentations, in turns.

    python benchmarks/training.py step      two minutes for each network on two cores
    python benchmarks/training.py loss      two minutes
    python benchmarks/training.py data      a minute
    python benchmarks/training.py epochs    an hour for each network

Each side of a step is a process of its own, as people start it. The peer is given twice: in float32 as it is written most often, and with
bfloat16 and channels-last, its best ordinary settings on a CPU that has them.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import camvid
import drawn
import turns
import typer

SIZE_PX, BATCH, CLASSES = 256, 8, 12
IMAGE_PX = (480, 640)
FIRST, LATER = "validation, first epoch", "validation, later epochs"
"""Later ones have the samples in memory."""
STEPS = 3
"""A turn."""
LEARNING_RATE, IGNORE_INDEX = 1e-3, 255
NETWORKS = camvid.OPTIONS
KEPT = ", freed memory kept"
"""As ours does; peers as they are, and so."""
SIDES = (
    "segmodels",
    "segmodels, freed memory given back",
    "plain",
    f"plain{KEPT}",
    "plain, bf16 channels-last",
    f"plain, bf16 channels-last{KEPT}",
    "matrices",
)

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command()
def step(
    networks: Annotated[list[str] | None, typer.Argument(help="Of unet, pspnet, deeplabv3plus; all unless given.")] = None,
    rounds: int = 9,
) -> None:
    """Forward, loss, backward and optimizer of each network on ResNet-18, and how much of the rate of bf16 matrices that is."""
    from measured import machine

    for name in networks or NETWORKS:
        command = [sys.executable, __file__, "one", name]
        sides = {who: turns.Side([*command, who]) for who in SIDES}
        flops = {who: side.next()["flops"] for who, side in sides.items()}  # all are ready
        took: dict[str, list[float]] = {who: [] for who in SIDES}
        for number in range(rounds):
            for who in SIDES if number % 2 == 0 else reversed(SIDES):
                took[who].append(sides[who].go()["seconds"])
        for side in sides.values():
            side.process.terminate()
            side.end()
        rates = {who: [flops[who] / one for one in took[who]] for who in ("segmodels", "matrices")}
        shares = [ours / most for ours, most in zip(rates["segmodels"], rates["matrices"], strict=True)]
        typer.echo(
            f"{name}: a step of {BATCH} images of {SIZE_PX} x {SIZE_PX} {1e3 * median(took['segmodels']):.0f} ms, "
            f"{median(rates['segmodels']) / 1e9:.0f} GFLOP/s, {_between(shares, '.2f')} of the rate of bf16 matrices"
        )
        for who in SIDES[1:-1]:
            ratios = [peer / ours for peer, ours in zip(took[who], took["segmodels"], strict=True)]
            typer.echo(f"  {who}: {1e3 * median(took[who]):.0f} ms, {_between(ratios, '.2f')} times as long")
    typer.echo(f"medians of {rounds} turns of {STEPS} steps, and from the least to the most, on {machine()}")


def _between(values: list[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


@app.command()
def data(count: int = 64, rounds: int = 7, work: Annotated[Path | None, typer.Option(help="Where to draw.")] = None) -> None:
    """Images a second that reach the network, for training and for validation, against decoding and augmenting each with albumentations."""
    from measured import folder, machine

    with folder(work) as root:
        drawn.write(root / "raw", count, IMAGE_PX)
        ways, first_epoch = _paths(root)
        took: dict[str, list[float]] = {name: [] for name in (*ways, FIRST)}
        for number in range(rounds + 1):
            ways[FIRST] = first_epoch()
            for name, way in ways.items():
                began = time.perf_counter()
                images = sum(len(batch[0]) for batch in way)
                if number:  # the first time files are not in memory yet
                    took[name].append((time.perf_counter() - began) / images)
        for part in ("training", FIRST, LATER):
            others = {name: took[name] for name in ways if name.startswith(f"{part.partition(',')[0]}, peer")}
            best = min(others, key=lambda name: median(others[name]))
            ratios = [peer / ours for peer, ours in zip(others[best], took[part], strict=True)]
            typer.echo(
                f"{part}: {1e3 * median(took[part]):.2f} ms an image; {best.partition(', ')[2]} {1e3 * median(others[best]):.2f} ms, "
                f"{_between(ratios, '.1f')} times as long"
            )
        typer.echo(
            f"PNGs of {IMAGE_PX[0]} x {IMAGE_PX[1]} to {camvid.SIZE_PX[0]} x {camvid.SIZE_PX[1]}, medians of {rounds} turns, on {machine()}"
        )


def _paths(root: Path) -> tuple[dict[str, Any], Callable[[], Any]]:
    """What gives batches, by name: ours, and the peer's with no workers and with two; and what makes a validation that has kept nothing yet."""
    import peer
    from torch.utils.data import DataLoader

    from segmodels import batches, catalog, memory
    from segmodels.recipes import Recipe
    from segmodels.store import Store

    memory.keep_freed()
    raw, size_px = root / "raw", camvid.SIZE_PX
    store = Store(camvid.prepared(raw, root))
    recipe = Recipe(catalog.build("augmentations", "light", size_px, options={}), size_px)
    alone: dict[str, Any] = {"rank": 0, "world": 1, "pin": False}

    def validation() -> Any:
        return batches.validation(store, size_px=size_px, batch_size=BATCH, **alone)

    found: dict[str, Any] = {
        "training": batches.training(
            store, recipe, batch_size=BATCH, micro_batch_size=BATCH, balanced_crops=0, parts=1, start=0, seed=0, **alone
        ),
        LATER: validation(),
    }
    void = peer.classes_of(raw)
    for workers in (0, 2):
        for part, split, transform in (
            ("training", "train", peer.augmented(size_px, void, 0)),
            ("validation", "val", peer.plain(size_px)),
        ):
            pairs = peer.Pairs(raw, split, transform)
            found[f"{part}, peer with {workers} workers"] = DataLoader(
                pairs, batch_size=BATCH, num_workers=workers, persistent_workers=workers > 0
            )
    return found, validation


@app.command()
def loss(rounds: int = 7) -> None:
    """Cross-entropy and Dice of as many images as a step has, forward and backward, against torch's and smp's, which compute the softmax each."""
    from measured import machine

    from segmodels import environment

    environment.apply()
    for classes in (12, 21, 150):
        logits, ways = _losses(classes)
        took: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, way in ways.items():
                logits.grad = None
                began = time.perf_counter()
                way().backward()
                if number:
                    took[name].append(time.perf_counter() - began)
        ratios = [theirs / ours for theirs, ours in zip(took["theirs"], took["ours"], strict=True)]
        typer.echo(
            f"{classes} classes: {1e3 * median(took['ours']):.0f} ms, torch's and smp's {1e3 * median(took['theirs']):.0f} ms, "
            f"{_between(ratios, '.1f')} times as long"
        )
    typer.echo(f"{BATCH} images of {SIZE_PX} x {SIZE_PX}, medians of {rounds} turns, on {machine()}")


def _losses(classes: int) -> tuple[Any, dict[str, Callable[[], Any]]]:
    """Logits, as a network in bfloat16 gives them, and both ways to a loss."""
    import segmentation_models_pytorch as smp
    import torch
    import torch.nn.functional as F

    from segmodels import objective
    from segmodels.objective import Term

    shape = (BATCH, classes, SIZE_PX, SIZE_PX)
    logits = torch.randn(shape).to(torch.bfloat16, memory_format=torch.channels_last).requires_grad_()
    target = torch.from_numpy(_drawn(SIZE_PX, classes, BATCH)[1]).long()
    own = objective.build("multiclass", [Term("cross_entropy", {}), Term("dice", {})])
    dice = smp.losses.DiceLoss("multiclass", ignore_index=IGNORE_INDEX)

    def theirs() -> Any:
        return F.cross_entropy(logits.float(), target, ignore_index=IGNORE_INDEX) + dice(logits.float(), target)

    return logits, {"ours": lambda: own(logits, target), "theirs": theirs}


@app.command()
def epochs(
    architectures: Annotated[list[str] | None, typer.Argument(help="Of unet, pspnet; both unless given.")] = None,
    count: int = 300,
    number: int = 8,
) -> None:
    """Trainings to the end on drawn images, one epoch of each side in turn: their time, and the test mIoU that both come to."""
    from measured import folder

    with folder(None) as root:
        drawn.write(root / "raw", count, IMAGE_PX)
        for architecture in architectures or ("unet", "pspnet"):
            camvid.compare(root / "raw", architecture, epochs=number)


@app.command(hidden=True)
def one(network: str, who: str) -> None:
    """Be one of the sides: a turn of steps for every line on stdin."""
    run, flops = {
        "segmodels": lambda: ours(network, side=SIZE_PX, classes=CLASSES, batch=BATCH),
        "segmodels, freed memory given back": lambda: ours(network, side=SIZE_PX, classes=CLASSES, batch=BATCH, keep_freed=False),
        "plain": lambda: _peer(network, fast=False),
        f"plain{KEPT}": lambda: _peer(network, fast=False, keep_freed=True),
        "plain, bf16 channels-last": lambda: _peer(network, fast=True),
        f"plain, bf16 channels-last{KEPT}": lambda: _peer(network, fast=True, keep_freed=True),
        "matrices": _matrices,
    }[who]()
    for _ in range(3):
        run()
    turns.tell({"flops": flops})
    while True:
        turns.wait()
        began = time.perf_counter()
        for _ in range(STEPS):
            run()
        turns.tell({"seconds": (time.perf_counter() - began) / STEPS})


def ours(name: str, *, side: int, classes: int, batch: int, keep_freed: bool = True) -> tuple[Callable[[], object], int]:
    """A step of our own on drawn noise, and the floating-point operations in it."""
    from segmodels import environment

    environment.apply()
    import torch

    from segmodels import device, memory, network, objective
    from segmodels.batches import stack
    from segmodels.objective import Term
    from segmodels.optimization import Optimization

    if keep_freed:
        memory.keep_freed()
    images, masks = stack(list(zip(*_drawn(side, classes, batch), strict=True)))
    torch.manual_seed(0)
    built = network.build(
        architecture=name,
        encoder="resnet18",
        weights=None,
        options=NETWORKS[name],
        num_logits=classes,
        mean=[123.7, 116.3, 103.5],
        std=[58.4, 57.1, 57.4],
    ).train()
    loss = objective.build("multiclass", [Term("cross_entropy", {})])
    optimizer = Optimization(learning_rate=LEARNING_RATE, weight_decay=0.01).optimizer(built)
    precision = device.precision("auto", torch.device("cpu"))

    def run() -> None:
        optimizer.zero_grad()
        with device.autocast(torch.device("cpu"), precision):
            value = objective.of(built, loss, images, masks.long())
        value.backward()
        optimizer.step()

    return run, _counted(run)


def _peer(name: str, *, fast: bool, keep_freed: bool = False) -> tuple[Callable[[], object], int]:
    import peer
    import torch
    import torch.nn.functional as F

    from segmodels import memory

    if keep_freed:
        memory.keep_freed()
    images, masks = _drawn(SIZE_PX, CLASSES, BATCH)
    layout = torch.channels_last if fast else torch.contiguous_format
    images_BCHW = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255).contiguous(memory_format=layout)
    target = torch.from_numpy(masks).long()
    torch.manual_seed(0)
    model = peer.network(name, CLASSES, NETWORKS[name]).train().to(memory_format=layout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)

    def run() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast):
            loss = F.cross_entropy(model(images_BCHW), target)
        loss.backward()
        optimizer.step()

    return run, 0


def _matrices() -> tuple[Callable[[], object], int]:
    """A product of two matrices, as large as makes it fastest: what this machine can do at most."""
    import torch

    size = 4096
    first, second = (torch.randn(size, size, dtype=torch.bfloat16) for _ in range(2))
    return lambda: first @ second, 2 * size**3


def _counted(run: Callable[[], object]) -> int:
    """Of convolutions and products of matrices alone, as papers count them."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def _drawn(side: int, classes: int, batch: int) -> tuple[Any, Any]:
    import numpy as np

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, side, side, 3), np.uint8)
    return images, rng.integers(0, classes, (batch, side, side), np.uint8)


if __name__ == "__main__":
    app()
