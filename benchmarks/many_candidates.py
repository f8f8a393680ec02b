"""What comparing takes as candidates become many: the stage `compare` on tables of counts of made-up candidates.

.venv/bin/python benchmarks/many_candidates.py             a few minutes
"""

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from measured import Memory, machine

from segmodels import shapes
from segmodels.compare import compare
from segmodels.counts import KINDS, TEST, VALIDATION, summarise
from segmodels.dataset import open_dataset
from segmodels.ledger import Ledger
from segmodels.prepare import prepare
from segmodels.samples import Part, trained
from segmodels.store import Store


def main(
    numbers: Annotated[list[int] | None, typer.Argument(help="How many candidates. [default: 10 100 1000]")] = None,
    images: int = 600,
) -> None:
    """Seconds and memory of `compare` on a dataset of so many images, 35 % of them tested."""
    with tempfile.TemporaryDirectory() as work:
        root = Path(work)
        shapes.write(root / "raw", count=images, size_px=(64, 64), seed=0)
        with Ledger() as ledger:
            prepare(
                open_dataset(root / "raw"),
                root / "store",
                ledger=ledger,
                kept=root / "kept",
                method="group",
                group_pattern=None,
                val=0.2,
                test=0.35,
                seed=0,
            )
        store, rng = Store(root / "store"), np.random.default_rng(0)
        for number in numbers or [10, 100, 1000]:
            names = [f"c{index:04}" for index in range(number)]
            for name in names:
                write(root / str(number) / name, store, rng, quality=float(rng.uniform(0.7, 0.95)))
            began = time.perf_counter()
            with Memory() as memory:
                found = compare(root / "store", root / str(number), root / f"reports-{number}", candidates=names)
            seconds = time.perf_counter() - began
            typer.echo(
                f"{number:>5} candidates: {seconds:.0f} s, {memory.most_mb - memory.before_mb:.0f} MB, {len(found['differences'])} comparisons, "
                f"the median of mIoU is {statistics.median(one['miou'] for one in found['candidates']):.3f}, on {machine()}"
            )


def write(folder: Path, store: Store, rng: np.random.Generator, *, quality: float) -> None:
    """What `evaluate` would have written of a candidate that finds this share of every class's pixels, more in some images than in others."""
    classes = trained(store.classes)
    folder.mkdir(parents=True)
    scores: dict[str, float | None] = {}
    tables: tuple[tuple[Part, str], ...] = (("test", TEST), ("val", VALIDATION))
    for part, table in tables:
        manifest = store.manifest.iloc[store.rows(part)]
        rows = manifest[["id", "group", "scene", "height", "width"]].reset_index(drop=True)
        true = manifest[[f"pixels_{k}" for k in range(len(classes))]].to_numpy(np.int64)
        right = rng.binomial(true, np.clip(rng.normal(quality, 0.05, (len(true), 1)), 0, 1))
        wrong = true - right
        said = right + np.roll(wrong, 1, axis=1)
        for kind, counted in zip(KINDS, (right, true, said) * 2, strict=True):
            rows[[f"{kind}_{k}" for k in range(len(classes))]] = counted
        union = true + said - right
        rows["miou"] = np.where(union > 0, right / np.maximum(union, 1), np.nan).mean(axis=1, where=union > 0)
        rows.to_parquet(folder / table, index=False)
        found = summarise(pd.DataFrame(rows), classes, overlap=False)
        scores |= found if part == "test" else {"validation_miou": found["miou"]}
    facts = {
        "num_parameters": int(rng.integers(1, 60)) * 10**6,
        "size_mb": 100.0,
        "latency_ms": float(rng.uniform(3, 60)),
        "latency_p95_ms": 60.0,
        "peak_memory_mb": 300.0,
        "device": "cpu",
        "backend": "openvino",
        "precision": "bf16",
        "bundle_sha256": "0" * 64,
        "test_sha256": store.digest("test"),
        "validation_sha256": store.digest("val"),
    }
    (folder / "scores.json").write_text(json.dumps(scores | facts))


if __name__ == "__main__":
    typer.run(main)
