"""Trains a network (on ResNet-18, from scratch) on CamVid twice: with segmodels, and with the loop people write with smp and albumentations.

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
OPTIONS: dict[str, dict[str, Any]] = {"unet": {}, "pspnet": {"depth": 3, "auxiliary": 0.0}, "deeplabv3plus": {}}

app = typer.Typer(add_completion=False)


@app.command()
def compare(
    camvid: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder with train.txt, val.txt, test.txt.")],
    architecture: Annotated[str, typer.Option(help="unet, pspnet or deeplabv3plus.")] = "unet",
    epochs: int = 12,
    batch_size: int = 8,
    seed: int = 0,
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON too.")] = None,
) -> None:
    """Train both, one epoch of each in turn, and print both results."""
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, __file__, "one"]
        settings = [str(camvid.resolve()), work, architecture, str(epochs), str(batch_size), str(seed)]
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
        "architecture": architecture,
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
def one(
    who: Literal["ours", "peer"], camvid: Path, work: Path, architecture: str, epochs: int, batch_size: int, seed: int
) -> None:
    """Be one of the two: wait for a line on stdin before every epoch, report on stdout after it."""
    (_ours if who == "ours" else _peer)(camvid, work / who, architecture, epochs, batch_size, seed)


def _ours(camvid: Path, work: Path, architecture: str, epochs: int, batch_size: int, seed: int) -> None:
    from lightning.pytorch.callbacks import Callback

    from segmodels import environment

    environment.apply()
    from segmodels.augment import augment
    from segmodels.bundle import load
    from segmodels.counts import summarise
    from segmodels.learner import EpochRecord
    from segmodels.objective import Term
    from segmodels.optimization import Optimization
    from segmodels.plan import Plan, Settings
    from segmodels.predict import Predictor
    from segmodels.samples import trained
    from segmodels.scoring import score
    from segmodels.store import Store
    from segmodels.train import Places, train

    prepared(camvid, work)
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
        candidate=architecture,
        architecture=architecture,
        encoder="resnet18",
        weights=None,
        options=OPTIONS[architecture],
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


def prepared(camvid: Path, work: Path) -> Path:
    """The store of a folder with train.txt, val.txt, test.txt."""
    from segmodels.dataset import open_dataset
    from segmodels.ledger import Ledger
    from segmodels.prepare import prepare

    with Ledger(work / "ledger.db") as ledger:
        prepare(
            open_dataset(camvid, format="camvid"),
            work / "prepared",
            ledger=ledger,
            kept=work / "shards",
            method="given",
            group_pattern=None,
            val=0,
            test=0,
            seed=0,
        )
    return work / "prepared"


def _peer(camvid: Path, work: Path, architecture: str, epochs: int, batch_size: int, seed: int) -> None:
    import peer
    import torch
    import torch.nn.functional as F
    from torch.utils.data import DataLoader
    from torchmetrics.classification import MulticlassJaccardIndex

    num_classes = peer.classes_of(camvid)
    training, plain = peer.augmented(SIZE_PX, num_classes, seed), peer.plain(SIZE_PX)

    def evaluate(split: str, *, at_own_size: bool) -> float:
        model.eval()
        metric = MulticlassJaccardIndex(num_classes, average="none", ignore_index=num_classes)
        present = torch.zeros(num_classes, dtype=torch.bool)
        with torch.inference_mode():
            for images, masks, own in DataLoader(peer.Pairs(camvid, split, plain), batch_size=batch_size):
                logits = model(images)
                truth = own.long() if at_own_size else masks
                if at_own_size:
                    logits = F.interpolate(logits, size=truth.shape[-2:], mode="bilinear", align_corners=False)
                metric.update(logits.argmax(1), truth)
                present |= torch.bincount(truth.flatten(), minlength=num_classes + 1)[:num_classes] > 0
        return float(metric.compute()[present].mean())

    torch.manual_seed(seed)
    model = peer.network(architecture, num_classes, OPTIONS[architecture])
    loader = DataLoader(peer.Pairs(camvid, "train", training), batch_size=batch_size, shuffle=True, drop_last=True)
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
            loss = F.cross_entropy(model(images), masks, ignore_index=num_classes)
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
