"""Comparisons of candidates whose predictions a test chooses: what is shown of them is known."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from segmodels import atomic, labellings
from segmodels.compare import compare
from segmodels.confusions import CELLS, Confusions
from segmodels.counts import TEST, VALIDATION, sliced, summarise
from segmodels.samples import UInt8Array, trained
from segmodels.scoring import Predicted, counted
from segmodels.store import Store

Says = Callable[[UInt8Array], UInt8Array]
"""What a candidate predicts of an image that is labelled so."""


def write(prepared: Path, folder: Path, candidates: Mapping[str, Says]) -> tuple[Path, Path]:
    """What `evaluate` and `compare` leave of such candidates: the folders of counts and of reports."""
    store = Store(prepared)
    evaluated, reports = folder / "evaluated", folder / "reports"
    for number, (name, says) in enumerate(candidates.items()):
        _evaluate(store, evaluated / name, says, number)
        epochs = [
            {"epoch": epoch, "val_miou": 0.1 * epoch + 0.01 * number, "train_loss": 1 / epoch, "seconds": 2.0}
            for epoch in (1, 2, 3)
        ]
        log = {"params": {"architecture": name, "training": {"epochs": 3, "seed": number}}, "epochs": epochs, "seconds": 6.0}
        atomic.write_json(
            reports / name / "training.json", log | {"bundle_sha256": f"{number:064x}", "inputs_sha256": f"{number:x}"}
        )
        atomic.write_text(reports / name / "scores.json", (evaluated / name / "scores.json").read_text(encoding="utf-8"))
    compare(prepared, evaluated, reports, candidates=list(candidates))
    return evaluated, reports


def _evaluate(store: Store, folder: Path, says: Says, number: int) -> None:
    classes, overlap = trained(store.classes), store.labels.overlap
    confusions, tables = Confusions(len(classes)), dict[str, pd.DataFrame]()
    folder.mkdir(parents=True)
    with labellings.writing(folder / labellings.NAME) as kept:
        for part, name in (("test", TEST), ("val", VALIDATION)):
            rows = []
            for row in store.rows("test" if part == "test" else "val"):
                truth = store.labelling(row)
                said = says(truth)
                ids, groups, scenes = (str(store.manifest[column].iloc[row]) for column in ("id", "group", "scene"))
                image, sure = np.array(store.image(row)), np.ones(truth.shape, np.float32)
                rows.append(counted(Predicted(row, ids, groups, scenes, image, truth, said, sure), len(classes), overlap=overlap))
                if part == "test":
                    if not overlap:
                        confusions.add(row, said, truth)
                    kept.add(row, said)
            tables[name] = pd.DataFrame(rows).astype({"miou": float})
            tables[name].to_parquet(folder / name, index=False)
    confusions.table().to_parquet(folder / CELLS, index=False)
    images = tables[TEST]
    scores = {
        "candidate": folder.name,
        **summarise(images, classes, overlap=overlap),
        "validation_miou": summarise(tables[VALIDATION], classes, overlap=overlap)["miou"],
        "calibration": {"error": 0.1, "bins": []},
        "confusion": None if overlap else confusions.total.tolist(),
        "objects": [{"class": classes[1].name, "size": "small", "num_objects": 4, "recall": 0.25}],
        "slices": sliced(images, classes, overlap=overlap),
        "latency_ms": 5.0 * (number + 1),
        "latency_p95_ms": 6.0 * (number + 1),
        "peak_memory_mb": 300.0,
        "device": "cpu",
        "backend": "openvino",
        "precision": "bf16",
        "disagreement": {},
        "num_parameters": 1_000_000 * (number + 1),
        "size_mb": 4.0,
        "bundle_sha256": f"{number:064x}",
        "test_sha256": store.digest("test"),
        "validation_sha256": store.digest("val"),
    }
    atomic.write_json(folder / "scores.json", scores)
