"""Trains a U-Net (resnet18, from scratch) on CamVid twice: with segmodels, and with the loop people write with smp and albumentations.

Both see the same images, sizes, augmentation, epochs, batch size, optimizer and schedule, and take turns epoch by epoch on the same
machine, so that whatever else runs there slows both. Prints test mIoU and training time of both, side by side.

    make bench-camvid CAMVID=<folder>      about an hour on two cores

`peer` is plain fp32: decode with PIL and augment with albumentations for every image, a DataLoader, torchmetrics for scores.
"""

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import turns
import typer

SIZE_PX = (352, 480)
LEARNING_RATE, POWER, WEIGHT_DECAY = 1e-3, 0.9, 0.01

app = typer.Typer(add_completion=False)


@app.command()
def compare(
    camvid: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder with train.txt, val.txt, test.txt.")],
    epochs: int = 12,
    batch_size: int = 8,
    seed: int = 0,
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON too.")] = None,
) -> None:
    """Train both, one epoch of each in turn, and print both results."""
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, __file__, "one"]
        settings = [str(camvid.resolve()), work, str(epochs), str(batch_size), str(seed)]
        workers = {who: turns.Side([*command, who, *settings]) for who in ("ours", "peer")}
        told = {who: worker.next() for who, worker in workers.items()}  # both are ready
        assert all("ready" in one for one in told.values())
        seconds: dict[str, list[float]] = {who: [] for who in workers}
        for epoch in range(epochs):
            order = ("ours", "peer") if epoch % 2 == 0 else ("peer", "ours")
            for who in order:
                report = workers[who].go()
                seconds[who].append(report["seconds"])
                typer.echo(f"epoch {epoch + 1} {who}: {report['seconds']:.1f} s, validation mIoU {report['val_miou']:.4f}")
        test = {who: worker.go()["test_miou"] for who, worker in workers.items()}
        for worker in workers.values():
            worker.end()
    ratio = statistics.median(ours / peer for ours, peer in zip(seconds["ours"], seconds["peer"], strict=True))
    result = {
        "test_miou": test,
        "training_seconds": {who: sum(values) for who, values in seconds.items()},
        "ratio_median": ratio,
        "ratio_total": sum(seconds["ours"]) / sum(seconds["peer"]),
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": seed,
        "machine": f"{os.cpu_count()} cores, {_cpu()}",
    }
    typer.echo(f"\n{'':<22}{'test mIoU':>10}{'training':>12}")
    for who, name in (("ours", "segmodels"), ("peer", "smp + albumentations")):
        typer.echo(f"{name:<22}{test[who]:>10.4f}{sum(seconds[who]):>10.0f} s")
    typer.echo(f"segmodels takes {ratio:.2f} of the peer's time (median of {epochs} epochs in turn) on {result['machine']}")
    if out is not None:
        out.write_text(json.dumps(result, indent=2) + "\n")


@app.command(hidden=True)
def one(who: Literal["ours", "peer"], camvid: Path, work: Path, epochs: int, batch_size: int, seed: int) -> None:
    """Be one of the two: wait for a line on stdin before every epoch, report on stdout after it."""
    (_ours if who == "ours" else _peer)(camvid, work / who, epochs, batch_size, seed)


def _ours(camvid: Path, work: Path, epochs: int, batch_size: int, seed: int) -> None:
    from lightning.pytorch.callbacks import Callback

    from segmodels import environment

    environment.apply()
    from segmodels.augment import augment
    from segmodels.bundle import load
    from segmodels.counts import summarise
    from segmodels.dataset import open_dataset
    from segmodels.learner import EpochRecord
    from segmodels.ledger import Ledger
    from segmodels.objective import Term
    from segmodels.optimization import Optimization
    from segmodels.plan import Plan, Settings
    from segmodels.predict import Predictor
    from segmodels.prepare import prepare
    from segmodels.samples import trained
    from segmodels.scoring import score
    from segmodels.store import Store
    from segmodels.train import Places, train

    dataset = open_dataset(camvid, format="camvid")
    with Ledger(work / "ledger.db") as ledger:
        prepare(
            dataset,
            work / "prepared",
            ledger=ledger,
            kept=work / "shards",
            method="given",
            group_pattern=None,
            val=0,
            test=0,
            seed=seed,
        )
    augment(work / "prepared", work / "augmented", recipe="light", options={}, size_px=SIZE_PX, seed=seed)

    class InTurn(Callback):
        def on_train_epoch_start(self, *_: Any) -> None:
            turns.wait()
            self.started = time.monotonic()

        def on_epoch(self, record: EpochRecord, _: int) -> None:
            turns.tell({"seconds": time.monotonic() - self.started, "val_miou": record.val_miou})  # with writing the checkpoint

    in_turn = InTurn()
    turns.tell({"ready": True})
    plan = Plan(
        candidate="unet",
        architecture="unet",
        encoder="resnet18",
        weights=None,
        options={},
        loss=[Term("cross_entropy", {})],
        schedule="poly",
        schedule_options={"power": POWER},
        optimization=Optimization(learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY),
        settings=Settings(size_px=SIZE_PX, epochs=epochs, batch_size=batch_size, seed=seed),
    )
    train(
        plan,
        Places(
            prepared=work / "prepared",
            augmented=work / "augmented",
            bundle=work / "bundle",
            log=work / "training.json",
            checkpoints=work / "checkpoints",
            gpu_locks=work / "locks",
        ),
        on_epoch=in_turn.on_epoch,
        callbacks=[in_turn],
    )
    turns.wait()
    store = Store(work / "prepared")
    images = score(store, Predictor(load(work / "bundle")))
    turns.tell({"test_miou": summarise(images, trained(store.classes), overlap=False)["miou"]})


def _peer(camvid: Path, work: Path, epochs: int, batch_size: int, seed: int) -> None:
    import albumentations as A
    import cv2
    import numpy as np
    import segmentation_models_pytorch as smp
    import torch
    import torch.nn.functional as F
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchmetrics.classification import MulticlassJaccardIndex

    classes = json.loads((camvid / "classes.json").read_text())
    names = classes["classes"] if isinstance(classes, dict) else classes
    void = next(c["id"] for c in names if c.get("ignore"))
    num_classes = len(names) - 1
    assert void == num_classes, "the void class is expected to be the last"
    height, width = SIZE_PX
    normalise = A.Normalize()
    nearest = {"mask_interpolation": cv2.INTER_NEAREST}
    training = A.Compose(
        [
            A.RandomResizedCrop(size=SIZE_PX, scale=(0.5, 1.0), ratio=(0.75, 4 / 3), **nearest),
            A.HorizontalFlip(p=0.5),
            A.Affine(
                rotate=(-10, 10), shear=(-5, 5), translate_percent=(-0.05, 0.05), border_mode=0, fill_mask=void, p=0.3, **nearest
            ),
            A.ColorJitter(brightness=(0.7, 1.3), contrast=(0.7, 1.3), saturation=(0.7, 1.3), hue=(-0.03, 0.03), p=0.5),
            A.GaussNoise(std_range=(0.01, 0.06), p=0.2),
            A.CoarseDropout(num_holes_range=(1, 4), hole_height_range=(0.05, 0.15), hole_width_range=(0.05, 0.15), p=0.2),
            normalise,
        ],
        seed=seed,
    )
    plain = A.Compose([A.Resize(height, width, **nearest), normalise])

    class CamVid(Dataset[Any]):
        def __init__(self, split: str, transform: A.Compose) -> None:
            self.pairs = [line.split() for line in (camvid / f"{split}.txt").read_text().splitlines() if line]
            self.transform = transform

        def __len__(self) -> int:
            return len(self.pairs)

        def __getitem__(self, index: int) -> Any:
            image, mask = (camvid / path for path in self.pairs[index])
            own = np.array(Image.open(mask))
            drawn = self.transform(image=np.array(Image.open(image).convert("RGB")), mask=own)
            return torch.from_numpy(drawn["image"].transpose(2, 0, 1).copy()), torch.from_numpy(drawn["mask"]).long(), own

    def evaluate(split: str, *, at_own_size: bool) -> float:
        model.eval()
        metric = MulticlassJaccardIndex(num_classes, average="none", ignore_index=void)
        present = torch.zeros(num_classes, dtype=torch.bool)
        with torch.inference_mode():
            for images, masks, own in DataLoader(CamVid(split, plain), batch_size=batch_size):
                logits = model(images)
                truth = own.long() if at_own_size else masks
                if at_own_size:
                    logits = F.interpolate(logits, size=truth.shape[-2:], mode="bilinear", align_corners=False)
                metric.update(logits.argmax(1), truth)
                present |= torch.bincount(truth.flatten(), minlength=num_classes + 1)[:num_classes] > 0
        return float(metric.compute()[present].mean())

    torch.manual_seed(seed)
    model = smp.Unet("resnet18", encoder_weights=None, classes=num_classes)
    loader = DataLoader(CamVid("train", training), batch_size=batch_size, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=epochs * len(loader), power=POWER)
    best, weights = -1.0, {}
    turns.tell({"ready": True})
    for _ in range(epochs):
        turns.wait()
        start = time.monotonic()
        model.train()
        for images, masks, _own in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), masks, ignore_index=void)
            loss.backward()
            optimizer.step()
            schedule.step()
        val_miou = evaluate("val", at_own_size=False)
        if val_miou > best:
            best, weights = val_miou, {name: value.clone() for name, value in model.state_dict().items()}
        turns.tell({"seconds": time.monotonic() - start, "val_miou": val_miou})
    turns.wait()
    model.load_state_dict(weights)
    turns.tell({"test_miou": evaluate("test", at_own_size=True)})


def _cpu() -> str:
    found = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return found[0].partition(":")[2].strip() if found else platform.processor()


if __name__ == "__main__":
    app()
