"""What a GPU is used for: its ceilings, a training step of each architecture, and an epoch beside the loop that people write with smp.

    python benchmarks/gpu.py ceilings          seconds
    python benchmarks/gpu.py steps             half a minute
    python benchmarks/gpu.py epochs            two or three minutes, most of it drawing images

Needs neither DVC nor MLflow nor Prefect; `pip install --no-deps .` makes the package known to a Python that has torch already.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
import turns
import typer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from segmodels import environment

GPU = torch.device("cuda", 0)
SIZE_PX = (512, 512)
LEARNING_RATE, POWER, WEIGHT_DECAY = 1e-3, 0.9, 0.01
ARCHITECTURES = ("unet", "pspnet", "fcn", "segnet", "deeplabv3", "deeplabv3plus")
SIDES = ("ours", "peer in bf16", "peer in TF32")
Who = Literal["ours", "peer in bf16", "peer in TF32"]

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command()
def ceilings() -> None:
    """The rates that nothing on this GPU exceeds: a product of large matrices in bf16, and a copy in its memory."""
    product, copied = measured_ceilings()
    typer.echo(f"{product / 1e12:.0f} TFLOP/s of bf16, {copied / 1e12:.2f} TB/s of memory, {torch.cuda.get_device_name(GPU)}")


@app.command()
def steps(batch_size: int = 32, classes: int = 12, rounds: int = 15) -> None:
    """Of each architecture: images a second in training at 512 x 512 in bf16, and what share of the ceilings that is."""
    product, copied = measured_ceilings()
    typer.echo(f"{'':<28}{'images/s':>9}{'TFLOP/s':>9}{'of its':>8}{'TB/s':>7}{'of its':>8}{'GiB':>6}")
    for architecture in ARCHITECTURES:
        step, encoder = training_step(architecture, batch_size, classes)
        with FlopCounterMode(display=False) as flops, Moved() as moved:
            step()
        torch.cuda.reset_peak_memory_stats(GPU)
        seconds = median_seconds(step, rounds)
        computed, went = flops.get_total_flops() / seconds, moved.bytes / seconds
        typer.echo(
            f"{architecture + ' ' + encoder:<28}{batch_size / seconds:>9.0f}{computed / 1e12:>9.0f}{computed / product:>8.0%}"
            f"{went / 1e12:>7.2f}{went / copied:>8.0%}{torch.cuda.max_memory_allocated(GPU) / 2**30:>6.1f}"
        )
    typer.echo(f"batches of {batch_size}, {classes} classes, {torch.cuda.get_device_name(GPU)}, torch {torch.__version__}")


@app.command()
def epochs(
    count: int = 1000, epochs: int = 9, workers: Annotated[int, typer.Option(help="Of each peer.")] = 8, seed: int = 0
) -> None:
    """A U-Net on ResNet-34, from files to weights: epochs in turn with the peer in bf16 and in TF32, and how well each ends."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        draw(work / "raw", count)
        sides = {
            who: turns.Side([sys.executable, __file__, "side", who, folder, str(epochs), str(workers), str(seed)])
            for who in SIDES
        }
        for side in sides.values():
            side.next()  # it is ready
        reports: dict[str, list[dict[str, Any]]] = {who: [] for who in SIDES}
        for epoch in range(epochs):
            for who in SIDES[epoch % 3 :] + SIDES[: epoch % 3]:
                reports[who].append(sides[who].go())
                typer.echo(f"epoch {epoch + 1} {who}: {reports[who][-1]}")
        for side in sides.values():
            side.go()
            side.end()
    # the first epoch starts workers and looks for the quickest convolutions
    taken = {who: [one["seconds"] for one in told[1:]] for who, told in reports.items()}
    for who in SIDES:
        ratio = statistics.median(a / b for a, b in zip(taken[who], taken["ours"], strict=True))
        typer.echo(
            f"{who:>13}: {statistics.median(taken[who]):6.2f} s an epoch ({min(taken[who]):.2f} to {max(taken[who]):.2f}), "
            f"{ratio:.2f} of ours; validation mIoU {max(one['val_miou'] for one in reports[who]):.3f}"
        )
    typer.echo(
        f"{count} drawn images of 512 x 512, peers with {workers} workers, {os.cpu_count()} cores, {torch.cuda.get_device_name(GPU)}"
    )


@app.command(hidden=True)
def side(who: Who, work: Path, epochs: int, workers: int, seed: int) -> None:
    """Be one of those that `epochs` compares."""
    environment.apply()
    if who == "ours":
        ours(work / "raw", work / "ours", epochs, seed)
    else:
        peer(work / "raw", epochs, workers, seed, in_bf16=who == "peer in bf16")


def measured_ceilings() -> tuple[float, float]:
    """Operations a second, and bytes a second, read and written ones counted."""
    left, right = (torch.randn(8192, 8192, device=GPU, dtype=torch.bfloat16) for _ in range(2))
    product = 2 * 8192**3 / median_seconds(lambda: left @ right, 20)
    source = torch.randint(0, 256, (2**31,), device=GPU, dtype=torch.uint8)
    target = torch.empty_like(source)
    return product, 2 * len(source) / median_seconds(lambda: target.copy_(source), 20)


def median_seconds(what: Callable[[], object], rounds: int) -> float:
    """By the GPU's own clock, after a third as many rounds that are not counted."""
    taken = []
    for number in range(-(rounds // 3), rounds):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        began.record()
        what()
        ended.record()
        ended.synchronize()
        if number >= 0:
            taken.append(float(began.elapsed_time(ended)) / 1000)
    return statistics.median(taken)


class Moved(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of memory that operations read and write, each of its tensors once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            leaves = torch.utils._pytree.tree_leaves((args, kwargs, out))
            self.bytes += sum(one.nbytes for one in leaves if isinstance(one, Tensor) and one.is_cuda)
        return out


def training_step(architecture: str, batch_size: int, classes: int) -> tuple[Callable[[], None], str]:
    """One as `segmodels.train` does it, on random images, and the encoder it is on."""
    from segmodels import catalog, network, objective
    from segmodels.optimization import Optimization

    torch.backends.cudnn.benchmark = True
    encoder = "resnet34" if architecture != "segnet" else str(catalog.default("architectures", architecture, "encoder"))
    segmenter = network.build(
        architecture=architecture,
        encoder=encoder,
        weights=None,
        options={},
        num_logits=classes,
        mean=[128.0] * 3,
        std=[64.0] * 3,
    ).to(GPU)
    segmenter.train()
    optimizer = Optimization(learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY).optimizer(segmenter, capturable=True)
    loss = objective.build("multiclass", [objective.Term("cross_entropy", {})])
    images = torch.randint(0, 256, (batch_size, 3, *SIZE_PX), dtype=torch.uint8, device=GPU)
    images = images.to(memory_format=torch.channels_last)
    target = torch.randint(0, classes, (batch_size, *SIZE_PX), device=GPU)

    def step() -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            value = objective.of(segmenter, loss, images, target)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, encoder


def draw(folder: Path, count: int) -> None:
    """Drawn by all cores; as `segmodels shapes` draws it."""
    from segmodels import shapes

    shapes.write(folder, count=1, size_px=SIZE_PX, seed=0)
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(_draw_one, folder), range(count), chunksize=8))


def _draw_one(folder: Path, index: int) -> None:
    from PIL import Image

    from segmodels import shapes
    from segmodels.images import write_mask

    drawing = shapes.draw(size_px=SIZE_PX, seed=(0, index))
    file = f"shapes_{index:05d}.png"
    Image.fromarray(drawing.image).save(folder / "images" / file)
    write_mask(folder / "masks" / file, drawing.mask, shapes.CLASSES)


def ours(raw: Path, work: Path, epochs: int, seed: int) -> None:
    from lightning.pytorch.callbacks import Callback

    from segmodels.augment import augment
    from segmodels.dataset import open_dataset
    from segmodels.learner import EpochRecord
    from segmodels.ledger import Ledger
    from segmodels.objective import Term
    from segmodels.plan import Plan
    from segmodels.prepare import prepare
    from segmodels.train import Places, train

    places = Places(*(work / name for name in ("prepared", "augmented", "bundle", "log.json", "checkpoints", "locks")))
    with Ledger(work / "ledger.db") as ledger:
        prepare(
            open_dataset(raw),
            places.prepared,
            ledger=ledger,
            kept=work / "kept",
            method="random",
            group_pattern=None,
            val=0.15,
            test=0.05,
            seed=seed,
        )
    augment(places.prepared, places.augmented, recipe="light", options={}, size_px=SIZE_PX, seed=seed)
    training = {"size_px": SIZE_PX, "epochs": epochs, "batch_size": 32, "seed": seed}
    plan = Plan.of(
        candidate="unet",
        architecture="unet",
        encoder="resnet34",
        weights=None,
        options={},
        loss=[Term("cross_entropy", {})],
        schedule="poly",
        schedule_options={"power": POWER},
        training=training | {"learning_rate": LEARNING_RATE, "weight_decay": WEIGHT_DECAY},
    )

    class InTurn(Callback):
        def on_train_epoch_start(self, *_: Any) -> None:
            turns.wait()
            self.began = time.monotonic()

        def on_epoch(self, record: EpochRecord, _: int) -> None:
            turns.tell({"seconds": time.monotonic() - self.began, "val_miou": record.val_miou})  # with writing the checkpoint

    in_turn = InTurn()
    turns.tell({"ready": True})
    train(plan, places, export="none", on_epoch=in_turn.on_epoch, callbacks=[in_turn])
    turns.wait()
    turns.tell({"ended": True})


def peer(raw: Path, epochs: int, workers: int, seed: int, *, in_bf16: bool) -> None:
    """smp's network, a DataLoader that decodes and augments every image with the same recipe, torchmetrics for scores."""
    import albumentations as A
    import cv2
    import numpy as np
    import segmentation_models_pytorch as smp
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchmetrics.classification import MulticlassJaccardIndex

    from segmodels.augmentations import light

    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    normalise = A.Normalize()
    files = sorted(path.name for path in (raw / "images").iterdir())
    held_out = len(files) * 3 // 20
    parts = {"val": files[:held_out], "train": files[held_out : -(len(files) // 20)]}
    classes = 5

    class Shapes(Dataset[Any]):
        def __init__(self, part: str) -> None:
            self.files = parts[part]
            self.transform = A.Compose([*(light.build(SIZE_PX) if part == "train" else []), normalise], seed=seed)

        def __len__(self) -> int:
            return len(self.files)

        def __getitem__(self, index: int) -> Any:
            image = np.array(Image.open(raw / "images" / self.files[index]).convert("RGB"))
            drawn = self.transform(image=image, mask=np.array(Image.open(raw / "masks" / self.files[index])))
            return torch.from_numpy(drawn["image"].transpose(2, 0, 1).copy()), torch.from_numpy(drawn["mask"]).long()

    def loader(part: str) -> Any:
        return DataLoader(
            Shapes(part),
            batch_size=32,
            shuffle=part == "train",
            drop_last=part == "train",
            num_workers=workers,
            pin_memory=True,
            persistent_workers=True,
            worker_init_fn=lambda _: cv2.setNumThreads(0),
        )

    layout = torch.channels_last if in_bf16 else torch.contiguous_format
    model = smp.Unet("resnet34", encoder_weights=None, classes=classes).to(GPU, memory_format=layout)
    training, validation = loader("train"), loader("val")
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=epochs * len(training), power=POWER)
    autocast = partial(torch.autocast, "cuda", dtype=torch.bfloat16, enabled=in_bf16)
    turns.tell({"ready": True})
    for _ in range(epochs):
        turns.wait()
        began = time.monotonic()
        model.train()
        for images, masks in training:
            images = images.to(GPU, non_blocking=True, memory_format=layout)
            masks = masks.to(GPU, non_blocking=True)
            optimizer.zero_grad()
            with autocast():
                loss = F.cross_entropy(model(images), masks, ignore_index=255)
            loss.backward()
            optimizer.step()
            schedule.step()
        model.eval()
        metric = MulticlassJaccardIndex(classes, ignore_index=255).to(GPU)
        with torch.inference_mode(), autocast():
            for images, masks in validation:
                metric.update(model(images.to(GPU, memory_format=layout)).argmax(1), masks.to(GPU))
        turns.tell({"seconds": time.monotonic() - began, "val_miou": float(metric.compute())})
    turns.wait()
    turns.tell({"ended": True})


if __name__ == "__main__":
    app()
