"""What a prediction costs: by backend and precision, in counting, of an image of any size, and over HTTP.

    .venv/bin/python -m segmodels.environment .venv/bin/python benchmarks/prediction.py backends      trains a U-Net for ten minutes first, then two minutes
    .venv/bin/python -m segmodels.environment .venv/bin/python benchmarks/prediction.py counting      a minute
    .venv/bin/python -m segmodels.environment .venv/bin/python benchmarks/prediction.py large         half an hour, 2 GB of disk

Every time is compared with another of the same run, in turns; what is printed are medians.
"""

import copy
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import rasterio
import torch
import typer
from measured import Memory, folder, machine
from torchmetrics.segmentation import MeanIoU

from segmodels import augment, backends, bundle, large_images, metrics, shapes
from segmodels.bundle import Bundle
from segmodels.dataset import open_dataset
from segmodels.ledger import Ledger
from segmodels.logits import decide
from segmodels.objective import Term
from segmodels.plan import Plan
from segmodels.predict import Predictor
from segmodels.predicted_files import Wanted, find, predict_files
from segmodels.prepare import prepare
from segmodels.samples import UInt8Array
from segmodels.store import Store
from segmodels.train import Places, train

app = typer.Typer(add_completion=False, no_args_is_help=True)
Work = Annotated[
    Path | None, typer.Option(help="Where to work, and to find what was trained before; removed afterwards if not given.")
]
SIZE = (256, 256)
PEER = "smp, eager fp32"


@app.command(name="backends")
def compare_backends(count: int = 100, rounds: int = 5, epochs: int = 8, work: Work = None) -> None:
    """A U-Net on ResNet-18, trained on drawn images of 256 x 256: each backend's time an image against the same network run as people write it."""
    with folder(work) as root:
        store, loaded = trained(root, epochs)
        images = [np.array(store.image(row)) for row in store.rows("test")[:count]]
        cpu = torch.device("cpu")
        ways: dict[str, backends.Backend] = {
            "torch fp32": backends.load(loaded, "torch", on=cpu, precision="fp32"),
            "torch bf16": backends.load(loaded, "torch", on=cpu, precision="bf16"),
            "onnxruntime fp32": backends.load(loaded, "onnxruntime"),
            "openvino fp32": backends.load(loaded, "openvino", precision="fp32"),
            "openvino bf16": backends.load(loaded, "openvino", precision="bf16"),
            "openvino int8": backends.load(loaded, "openvino", precision="int8"),
        }
        predictors: dict[str, Callable[[UInt8Array], UInt8Array]] = {PEER: peer(loaded)}
        predictors |= {name: Predictor(loaded, one) for name, one in ways.items()}
        masks = {name: [one(image) for image in images] for name, one in predictors.items()}
        seconds: dict[str, list[float]] = {name: [] for name in predictors}
        for turn in range(rounds + 1):
            for name, one in predictors.items():
                taken = timed(partial(each, one, images)) / len(images)
                if turn:
                    seconds[name].append(taken)
        for name, all_taken in seconds.items():
            ratios = [slow / fast for slow, fast in zip(seconds[PEER], all_taken, strict=True)]
            same = np.mean([np.mean(a == b) for a, b in zip(masks[name], masks[PEER], strict=True)])
            typer.echo(
                f"{name:>17}: {1000 * statistics.median(all_taken):6.1f} ms an image, {statistics.median(ratios):4.1f} times as fast "
                f"({min(ratios):.1f} to {max(ratios):.1f}), {same:.4%} of pixels the same"
            )
        typer.echo(f"on {machine()}")


def peer(loaded: Bundle) -> Callable[[UInt8Array], UInt8Array]:
    """smp's network as its own examples run it: eager, in float32, channels first. From an image of the network's size to its mask."""
    ours = loaded.segmenter
    network = copy.deepcopy(ours.network).to(memory_format=torch.contiguous_format)
    mean, std = ours.mean.clone(), ours.std.clone()

    @torch.inference_mode()
    def predict(image: UInt8Array) -> UInt8Array:
        images_BCHW = torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float()
        labels: UInt8Array = network((images_BCHW - mean) / std).argmax(1)[0].to(torch.uint8).numpy()
        return labels

    return predict


@app.command()
def counting(classes: int = 12, rounds: int = 20) -> None:
    """From logits to labels and the counts that scores are made of, against argmax and torchmetrics' mean IoU: eight images of 256 x 256."""
    logits = torch.randn(8, classes, *SIZE)
    truth = torch.randint(0, classes, (8, *SIZE))
    small = truth.to(torch.uint8).numpy()
    peer = MeanIoU(num_classes=classes, input_format="index")

    def ours() -> None:
        metrics.counts(decide(logits, "multiclass").numpy(), small, classes)

    def theirs() -> None:
        peer.update(logits.argmax(1), truth)

    seconds: dict[str, list[float]] = {"ours": [], "torchmetrics": []}
    for turn in range(rounds + 1):
        for name, way in (("ours", ours), ("torchmetrics", theirs)):
            taken = timed(way)
            if turn:
                seconds[name].append(taken)
    for name, values in seconds.items():
        typer.echo(f"{name:>12}: {1000 * statistics.median(values):.1f} ms")
    ratio = statistics.median(slow / fast for slow, fast in zip(seconds["torchmetrics"], seconds["ours"], strict=True))
    typer.echo(f"{ratio:.1f} times as fast on {machine()}")


@app.command()
def large(side: int = 20_000, epochs: int = 8, work: Work = None) -> None:
    """The memory above the model's own that an image of `side` x `side` takes, from a TIFF file to a TIFF file."""
    with folder(work) as root:
        _, loaded = trained(root, epochs)
        source = root / "large.tif"
        draw_large(source, side)
        predictor = Predictor(loaded)
        predictor.warm_up()
        began = time.perf_counter()
        targets = find([str(source)], root / "out")
        with Memory() as memory:
            for path, reason in predict_files(predictor, targets, root / "out", Wanted(False, False, False, True)):
                if reason is not None:
                    raise typer.BadParameter(f"{path}: {reason}")
        taken = time.perf_counter() - began
        typer.echo(f"{side} x {side}: {memory.most_mb - memory.before_mb:.0f} MB above the model's, {taken:.0f} s on {machine()}")


def draw_large(path: Path, side: int) -> None:
    """A drawing repeated, written piece by piece."""
    tile = shapes.draw(size_px=(512, 512), seed=0).image
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8", "tiled": True}
    profile |= {"blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    with rasterio.open(path, "w", **profile) as file:
        for top in range(0, side, 512):
            for left in range(0, side, 512):
                height, width = min(512, side - top), min(512, side - left)
                window = rasterio.windows.Window(left, top, width, height)
                file.write(tile[:height, :width].transpose(2, 0, 1), window=window)
    assert bool(large_images.large([path])) == (side * side > 50_000_000)


def trained(root: Path, epochs: int) -> tuple[Store, Bundle]:
    """Trained once in a folder that is kept."""
    places = Places(root / "store", root / "light", root / "bundle", root / "log.json", root / "checkpoints", root / "locks")
    if not places.bundle.is_dir():
        shapes.write(root / "raw", count=600, size_px=SIZE, seed=0)
        with Ledger(root / "ledger.db") as ledger:
            prepare(
                open_dataset(root / "raw"),
                places.prepared,
                ledger=ledger,
                kept=root / "kept",
                method="group",
                group_pattern=None,
                val=0.1,
                test=0.2,
                seed=0,
            )
        augment.augment(places.prepared, places.augmented, recipe="light", options={}, size_px=SIZE, seed=0)
        plan = Plan.of(
            candidate="unet",
            architecture="unet",
            encoder="resnet18",
            weights=None,
            options={},
            loss=[Term("cross_entropy", {})],
            schedule="poly",
            schedule_options={},
            training={
                "size_px": SIZE,
                "epochs": epochs,
                "batch_size": 8,
                "learning_rate": 0.002,
                "weight_decay": 0.01,
                "seed": 0,
            },
        )
        train(
            plan,
            places,
            export="int8",
            on_epoch=lambda record, total: typer.echo(f"epoch {record.epoch} of {total}: {record.val_miou:.3f}"),
        )
    return Store(places.prepared), bundle.load(places.bundle)


def each(predictor: Callable[[UInt8Array], UInt8Array], images: list[np.ndarray]) -> None:
    for image in images:
        predictor(image)


def timed(what: Callable[[], object]) -> float:
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


if __name__ == "__main__":
    app()
