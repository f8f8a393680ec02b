"""What bringing data in costs: memory, processes, doing it again, a million rows and as many looks, and reading from the store.

    .venv/bin/python benchmarks/data.py memory       ten minutes on two cores, 3 GB of disk
    .venv/bin/python benchmarks/data.py processes    five minutes
    .venv/bin/python benchmarks/data.py again        ten minutes, 4 GB of disk
    .venv/bin/python benchmarks/data.py manifest     a minute
    .venv/bin/python benchmarks/data.py alike        two minutes
    .venv/bin/python benchmarks/data.py read         a minute

Every time is compared with another of the same run, in turns; what is printed are medians.
"""

import gc
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from measured import Memory, folder, machine
from PIL import Image

from segmodels import duplicates, shapes, splits
from segmodels.annotations import MaskFile
from segmodels.atomic import write_json
from segmodels.dataset import open_dataset
from segmodels.duplicates import Fingerprint
from segmodels.images import read_image, read_mask, write_mask
from segmodels.ingest import ingest
from segmodels.ledger import Ledger
from segmodels.prepare import prepare as run_prepare
from segmodels.samples import Sample
from segmodels.store import Store

app = typer.Typer(add_completion=False, no_args_is_help=True)
Work = Annotated[Path | None, typer.Option(help="Where to work; a folder that is removed afterwards if not given.")]


@app.command()
def memory(few: int = 1000, many: int = 20_000, work: Work = None) -> None:
    """Peak memory of `prepare`, of itself and the one process that decodes, together, for a thousand images and for twenty thousand."""
    with folder(work) as root:
        peaks = {}
        for count in (few, many):
            draw(root / str(count), count, size=128)
            command = [sys.executable, __file__, "prepare", str(root / str(count)), str(root / f"store-{count}")]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            peaks[count] = float(told.split()[-1])
            typer.echo(f"{count:>6} images: {peaks[count]:.0f} MB")
        typer.echo(f"grows by {peaks[many] - peaks[few]:.0f} MB on {machine()}")


@app.command(hidden=True)
def prepare(raw: Path, store: Path) -> None:
    """Prepare once, and print the peak memory of this process and its worker in MB. With more than one they were more for more images."""
    with Memory() as memory:
        prepared(raw, store, processes=1)
    typer.echo(memory.most_mb)


@app.command()
def processes(count: int = 6000, rounds: int = 3, work: Work = None) -> None:
    """Images a second that `prepare` packs with two processes and with one, in turns."""
    with folder(work) as root:
        draw(root / "raw", count)
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for turn in range(rounds):
            for number in (1, 2) if turn % 2 else (2, 1):
                seconds[number].append(timed(partial(prepared, root / "raw", root / "store", processes=number)))
                shutil.rmtree(root / "store")
                shutil.rmtree(root / "store-kept")
                typer.echo(f"{number} at once: {count / seconds[number][-1]:.0f} images/s")
        ratio = statistics.median(one / two for one, two in zip(seconds[1], seconds[2], strict=True))
        typer.echo(f"two processes pack {ratio:.2f} times as much as one on {machine()}")


@app.command()
def again(count: int = 20_000, rounds: int = 3, work: Work = None) -> None:
    """Time of bringing a dataset in, and of bringing the same in again."""
    with folder(work) as root:
        draw(root / "source", count)
        time.sleep(3)  # files that were only just written are hashed again
        first = timed(lambda: brought_in(root))
        time.sleep(3)
        brought_in(root)  # notes the copy's hashes
        typer.echo(f"first: {first:.1f} s")
        later = [timed(lambda: brought_in(root)) for _ in range(rounds)]
        typer.echo(
            f"again: {statistics.median(later):.2f} s, {first / statistics.median(later):.0f} times as fast on {machine()}"
        )


@app.command()
def manifest(rows: int = 1_000_000, work: Work = None) -> None:
    """Time of opening a manifest of a million rows, and of drawing splits for them."""
    with folder(work) as root:
        write_manifest(root, rows)
        opened = timed(lambda: Store(root))
        nowhere = MaskFile(Path())
        samples = [Sample(f"s{n:07d}", Path(), nowhere, group=f"scene{n // 10}") for n in range(rows)]
        groups = splits.groups_of(samples, None)
        images = {one.id: f"{number:064x}" for number, one in enumerate(samples)}
        shown = {one.id: [0, number % 20] for number, one in enumerate(samples)}
        drawn = timed(
            lambda: splits.assign(samples, groups, method="group", val=0.1, test=0.1, seed=0, images=images, shown=shown)
        )
        typer.echo(f"{rows:,} rows: opened in {opened:.1f} s, split in {drawn:.1f} s on {machine()}")


@app.command()
def alike(count: int = 1_000_000) -> None:
    """Time of finding which of a million images look like others: a hundredth does."""
    looks = np.random.default_rng(0).integers(0, 2**64 - 1, count, np.uint64, endpoint=True)
    looks[: count // 100] = looks[count // 2 : count // 2 + count // 100] ^ np.uint64(0b101)  # two bits apart
    prints = [Fingerprint(f"p{number}", int(look)) for number, look in enumerate(looks)]
    found: list[int] = []
    seconds = timed(lambda: found.append(len(duplicates.links(prints, looks=True))))
    typer.echo(f"{count:,} images: the {found[0]:,} that look like another found in {seconds:.0f} s on {machine()}")


@app.command()
def read(count: int = 200, rounds: int = 5, work: Work = None) -> None:
    """Time of an image with its mask from the store, copied into memory, and of decoding the two PNG files with Pillow."""
    with folder(work) as root:
        draw(root / "raw", count)
        prepared(root / "raw", root / "store")
        store, dataset = Store(root / "store"), open_dataset(root / "raw")

        def from_store() -> None:
            for row in range(count):
                np.array(store.image(row)), np.array(store.mask(row))

        def from_files() -> None:
            for sample in dataset.samples:
                read_image(sample.image_path), read_mask(root / "raw" / "masks" / f"{sample.id}.png", dataset.classes)

        def from_pillow() -> None:
            for sample in dataset.samples:
                for path in sample.files:
                    with Image.open(path) as image:
                        np.array(image)

        from_store()
        ways: dict[str, Callable[[], None]] = {"store": from_store, "checked": from_files, "Pillow": from_pillow}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                seconds[name].append(timed(way) / count)
        for name, taken in seconds.items():
            typer.echo(f"{name:>8}: {statistics.median(taken) * 1e3:.3f} ms a pair of 256 x 256")
        ratios = [slow / fast for slow, fast in zip(seconds["Pillow"], seconds["store"], strict=True)]
        typer.echo(f"from the store {statistics.median(ratios):.0f} times as fast as from PNG with Pillow on {machine()}")


def prepared(raw: Path, store: Path, processes: int | None = None, *, test: float = 0.1) -> None:
    with Ledger(store.with_name(f"{store.name}-ledger.db")) as ledger:
        run_prepare(
            open_dataset(raw),
            store,
            ledger=ledger,
            kept=store.with_name(f"{store.name}-kept"),
            facts=store.with_name(f"{store.name}-facts"),
            method="group",
            group_pattern=None,
            val=0.1,
            test=test,
            seed=0,
            near_duplicates="ignore",
            processes=processes,
        )


def brought_in(root: Path) -> None:
    with Ledger(root / "ledger.db") as ledger:
        ingest(open_dataset(root / "source"), root / "copy", ledger=ledger)


def draw(root: Path, count: int, size: int = 256) -> None:
    """Different images of shapes with their masks, each made of one of a hundred drawings."""
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    write_json(root / "classes.json", {"classes": [{"id": one.value, "name": one.name} for one in shapes.CLASSES]})
    with ProcessPoolExecutor() as pool:
        list(pool.map(_draw_some, [(root, start, min(start + 250, count), size) for start in range(0, count, 250)]))


def _draw_some(task: tuple[Path, int, int, int]) -> None:
    root, start, stop, size = task
    for number in range(start, stop):
        drawn = shapes.draw(size_px=(size, size), seed=number)
        Image.fromarray(drawn.image).save(root / "images" / f"{number:06d}.png")
        write_mask(root / "masks" / f"{number:06d}.png", drawn.mask, shapes.CLASSES)


def write_manifest(root: Path, rows: int) -> None:
    """A store's files, but for the pixels."""
    numbers = np.arange(rows)
    digest = [f"{n:064x}" for n in numbers]
    table = pd.DataFrame(
        {
            "id": [f"s{n:07d}" for n in numbers],
            "split": np.where(numbers % 10 == 0, "test", np.where(numbers % 10 == 1, "val", "train")),
            "group": [f"scene{n // 10}" for n in numbers],
            "scene": [f"scene{n // 10}" for n in numbers],
            "height": 100,
            "width": 100,
            "sha256": digest,
            "image_sha256": digest,
            "look": "",
            "images": [f"images-{n // 4000:016x}.bin" for n in numbers],
            "image_offset": 30_000 * (numbers % 4000),
            "masks": [f"masks-{n // 4000:016x}.bin" for n in numbers],
            "mask_offset": 10_000 * (numbers % 4000),
            "pixels_void": 0,
            **{f"pixels_{index}": 10_000 if index == 0 else 0 for index in range(12)},
        }
    )
    table.to_parquet(root / "manifest.parquet", index=False)
    classes = [{"name": f"c{index}", "value": index, "color": [0, 0, 0], "ignore": False} for index in range(12)]
    facts = {
        "task": "multiclass",
        "label_sets": [],
        "classes": classes,
        "channels": 3,
        "bits": 8,
        "mean": [0.0] * 3,
        "std": [1.0] * 3,
        "sha256": "0" * 64,
    }
    write_json(root / "dataset.json", facts)


def timed(work: Callable[[], object]) -> float:
    gc.collect()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    app()
