"""evaluate and compare: scores from what the bundle predicts, ranked with intervals, nobody ranked on other images."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import torch
from PIL import Image

from segmodels import bundle, network
from segmodels.compare import compare
from segmodels.counts import KINDS, sliced, summarise
from segmodels.errors import DatasetError, InputError
from segmodels.evaluate import draw_worst, evaluate
from segmodels.predict import Predictor
from segmodels.samples import SegmentationClass
from segmodels.store import Store
from tests import bundles


def save_untrained(folder: Path, store: Store, *, classes: list[SegmentationClass] | None = None) -> None:
    listed = classes or store.classes
    options = {"decoder_channels": [8, 8]}
    facts: dict[str, Any] = {"architecture": "unet", "encoder": "resnet18", "options": options}
    segmenter = network.build(**facts, weights=None, num_logits=len(listed), mean=store.mean, std=store.std)
    bundles.save(folder, segmenter, **facts, classes=listed, size_px=(48, 64), dataset_sha256=store.sha256)


@pytest.fixture(scope="module")
def evaluated(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `evaluate` writes for two untrained candidates."""
    root = tmp_path_factory.mktemp("evaluated")
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)  # there are networks that are wrong everywhere
        save_untrained(root / "bundles" / name, Store(prepared))
        reports = root / "reports" / name
        evaluate(prepared, root / "bundles" / name, root / "evaluated" / name, reports)
    return root


def test_the_score_is_that_of_the_predictions(evaluated: Path, store: Store) -> None:
    predictor = Predictor(bundle.load(evaluated / "bundles" / "one"))
    overlap, union = np.zeros(5), np.zeros(5)
    for row in store.rows("test"):
        predicted, truth = predictor(np.array(store.image(row))), np.array(store.mask(row))
        for k in range(5):
            overlap[k] += ((predicted == k) & (truth == k)).sum()
            union[k] += ((predicted == k) | (truth == k)).sum()
    scores = json.loads((evaluated / "reports" / "one" / "scores.json").read_text())
    assert scores["miou"] == pytest.approx(np.mean(overlap[union > 0] / union[union > 0]))
    assert scores["num_images"] == len(store.rows("test"))
    images = pd.read_parquet(evaluated / "evaluated" / "one" / "images.parquet")
    assert images["intersection_0"].sum() == overlap[0]
    with Image.open(evaluated / "reports" / "one" / "worst.png") as worst:
        assert worst.width > 200


def test_the_worst_images_are_shown_worst_first_with_their_errors(
    evaluated: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(bundle.load(evaluated / "bundles" / "one"))
    rows = store.rows("test")
    assert len(rows) > 3
    ids = [str(store.manifest["id"][row]) for row in rows]
    mious = [0.9, 0.2, np.nan, 0.5, *[0.95] * (len(rows) - 4)]
    drawn: dict[str, Any] = {}
    monkeypatch.setattr("segmodels.pictures.sheet", lambda path, rows, **rest: drawn.update(rest, rows=rows))
    draw_worst(store, predictor, pd.DataFrame({"id": ids, "miou": mious}), tmp_path / "worst.png")
    expected = [f"{ids[1]}\nmIoU 0.20", f"{ids[3]}\nmIoU 0.50", f"{ids[0]}\nmIoU 0.90"]
    assert drawn["names"][:3] == expected
    assert ids[2] not in " ".join(drawn["names"])  # it has no score
    assert len(drawn["names"]) == min(len(rows) - 1, 8)
    image, truth = np.array(store.image(rows[1])), np.array(store.mask(rows[1]))
    shown, _, _, errors = drawn["rows"][0]
    assert (shown == image).all()
    wrong = (predictor(image) != truth) & (truth != 255)
    assert wrong.any()
    assert (~wrong).any()
    np.testing.assert_array_equal((errors == (213, 94, 0)).all(axis=-1), wrong)


def test_a_bundle_of_other_classes_is_refused(prepared: Path, store: Store, tmp_path: Path) -> None:
    save_untrained(
        tmp_path / "b", store, classes=[SegmentationClass("cat", 0, (1, 1, 1)), SegmentationClass("dog", 1, (2, 2, 2))]
    )
    with pytest.raises(DatasetError, match=r"predicts \['cat', 'dog'\], the dataset has \['background'"):
        evaluate(prepared, tmp_path / "b", tmp_path / "e", tmp_path / "r")
    assert not (tmp_path / "e").exists()


def test_the_leaderboard_is_ranked_best_first(prepared: Path, evaluated: Path, tmp_path: Path) -> None:
    compare(prepared, evaluated / "evaluated", tmp_path, candidates=["one", "two"])
    ranked = json.loads((tmp_path / "leaderboard.json").read_text())["candidates"]
    assert {one["name"] for one in ranked} == {"one", "two"}
    assert ranked[0]["miou"] >= ranked[1]["miou"]
    for one in ranked:
        assert one["miou_low"] <= one["miou"] <= one["miou_high"]
    markdown = (tmp_path / "leaderboard.md").read_text()
    assert markdown.index(f"| {ranked[0]['name']} |") < markdown.index(f"| {ranked[1]['name']} |")
    with Image.open(tmp_path / "leaderboard.png") as picture:
        assert picture.width > 300


def test_tables_in_another_order_are_the_same_scores(prepared: Path, evaluated: Path, tmp_path: Path) -> None:
    shutil.copytree(evaluated / "evaluated" / "one", tmp_path / "evaluated" / "one")
    other = Path(shutil.copytree(evaluated / "evaluated" / "one", tmp_path / "evaluated" / "other"))
    pd.read_parquet(other / "images.parquet").iloc[::-1].to_parquet(other / "images.parquet", index=False)
    [difference] = compare(prepared, tmp_path / "evaluated", tmp_path, candidates=["one", "other"])["differences"]
    assert [difference[key] for key in ("miou", "low", "high", "p")] == [0, 0, 0, 1]


def test_validation_images_choose_who_is_put_forward(prepared: Path, evaluated: Path, tmp_path: Path) -> None:
    shutil.copytree(evaluated / "evaluated", tmp_path / "evaluated")
    for name, right_on in (("one", "images"), ("two", "validation")):
        for kind in ("images", "validation"):
            path = tmp_path / "evaluated" / name / f"{kind}.parquet"
            many = pd.concat([pd.read_parquet(path)] * 20, ignore_index=True)
            many["id"] = many["scene"] = [f"{number:03d}" for number in range(len(many))]
            for k in range(5):
                many[f"prediction_{k}"] = many[f"truth_{k}"]
                many[f"intersection_{k}"] = many[f"truth_{k}"] if kind == right_on else 0
            many.to_parquet(path)
        scores = json.loads((path.parent / "scores.json").read_text())
        mious = {"miou": float(name == "one"), "validation_miou": float(name == "two")}
        (path.parent / "scores.json").write_text(json.dumps(scores | mious))
    found = compare(prepared, tmp_path / "evaluated", tmp_path, candidates=["one", "two"])
    assert [one["name"] for one in found["candidates"]] == ["one", "two"]  # ranked by the test images
    assert (found["chosen"], found["reason"][:46]) == ("two", "two has the best mIoU on the validation images")
    assert (found["differences"][0]["first"], found["validation_differences"][0]["first"]) == ("one", "two")


def test_where_there_is_nothing_to_score_nobody_is_ranked(prepared: Path, evaluated: Path, tmp_path: Path) -> None:
    shutil.copytree(evaluated / "evaluated", tmp_path / "evaluated")
    scores = json.loads((tmp_path / "evaluated" / "two" / "scores.json").read_text())
    (tmp_path / "evaluated" / "two" / "scores.json").write_text(json.dumps(scores | {"miou": None}))
    found = compare(prepared, tmp_path / "evaluated", tmp_path, candidates=["one", "two"])
    assert [one["name"] for one in found["candidates"]] == ["one"]
    assert "there is nothing to score" in found["not_ranked"][0]["reason"]


def table(areas: list[int], groups: list[str]) -> pd.DataFrame:
    """Images of one class, of which 9 pixels of 10 were found in the small ones and half in the others."""
    rows = []
    for number, (area, group) in enumerate(zip(areas, groups, strict=True)):
        right = 9 * area // 10 if area <= 100 else area // 2
        counts = {f"{kind}_0": right if kind.endswith("intersection") else area for kind in KINDS}
        rows.append({"id": str(number), "group": group, "height": 1, "width": area, "miou": right / area} | counts)
    return pd.DataFrame(rows)


def test_scores_of_parts_of_the_images() -> None:
    classes = [SegmentationClass("a", 0, (1, 1, 1))]
    images = table([100] * 4 + [1000] * 6, ["x", "x", "y", "y", "x", "y", "y", "y", "y", "y"])
    found = sliced(images, classes, overlap=False)
    assert [(one["name"], one["num_images"], one["miou"]) for one in found["size"]] == [
        ("100 px", 4, 90 / (100 + 100 - 90)),
        ("1,000 px", 6, 500 / (1000 + 1000 - 500)),
    ]
    assert [(one["name"], one["num_images"]) for one in found["group"]] == [("x", 3), ("y", 7)]
    assert summarise(images, classes, overlap=False)["mean_image_iou"] == pytest.approx((4 * 0.9 + 6 * 0.5) / 10)
    many = sliced(table(list(range(10, 100)), [str(n) for n in range(90)]), classes, overlap=False)
    assert [(one["name"], one["num_images"]) for one in many["size"]] == [
        ("10 to 39 px", 30),
        ("40 to 69 px", 30),
        ("70 to 99 px", 30),
    ]
    assert "group" not in many  # an image each
    assert sliced(table([7] * 5, ["x"] * 5), classes, overlap=False) == {}


def test_the_report_has_all_that_was_counted(evaluated: Path, store: Store) -> None:
    scores = json.loads((evaluated / "reports" / "one" / "scores.json").read_text())
    predictor = Predictor(bundle.load(evaluated / "bundles" / "one"))
    truth = np.concatenate([np.array(store.mask(row)).reshape(-1) for row in store.rows("test")])
    said = np.concatenate([predictor(np.array(store.image(row))).reshape(-1) for row in store.rows("test")])
    known = truth != 255
    assert scores["confusion"] == sklearn.metrics.confusion_matrix(truth[known], said[known], labels=range(5)).tolist()
    assert scores["pixel_accuracy"] == pytest.approx((truth == said)[known].mean(), abs=1e-12)
    assert sum(one["num_pixels"] for one in scores["calibration"]["bins"]) == known.sum()
    assert sum(one["num_objects"] for one in scores["objects"]) > 0
    assert 0 < scores["latency_ms"] <= scores["latency_p95_ms"] and scores["peak_memory_mb"] > 50
    for name in ("worst", "confused", "calibration"):
        with Image.open(evaluated / "reports" / "one" / f"{name}.png") as picture:
            assert picture.width > 200


def test_the_spread_of_seeds_is_told(prepared: Path, evaluated: Path, tmp_path: Path) -> None:
    shutil.copytree(evaluated / "evaluated", tmp_path / "evaluated")
    for name, miou in (("one", 0.5), ("two", 0.6), ("three", 0.7)):
        folder = tmp_path / "evaluated" / name
        if not folder.is_dir():
            shutil.copytree(tmp_path / "evaluated" / "one", folder)
        scores = json.loads((folder / "scores.json").read_text())
        (folder / "scores.json").write_text(json.dumps(scores | {"miou": miou}))
    kinds = [["one", "two", "three", "failed"], ["other", "missing"]]
    candidates = ["one", "two", "three", "failed", "other", "missing"]
    found = compare(prepared, tmp_path / "evaluated", tmp_path, candidates=candidates, same_but_for_the_seed=kinds)
    [one] = found["seeds"]  # of a kind of which none, or one, was ranked there is no spread
    assert one["candidates"] == ["one", "two", "three"]
    assert (one["mean"], one["deviation"], one["low"], one["high"]) == pytest.approx((0.6, 0.1, 0.5, 0.7))
    told = "one and two and three differ by their seed alone: mIoU 0.6000 on average, standard deviation 0.1000, from 0.5000 to 0.7000"
    assert told in (tmp_path / "leaderboard.md").read_text()


def test_who_was_not_scored_is_listed_with_the_reason(prepared: Path, evaluated: Path, tmp_path: Path) -> None:
    shutil.copytree(evaluated / "evaluated", tmp_path / "evaluated")
    shutil.rmtree(tmp_path / "evaluated" / "two")
    other = tmp_path / "evaluated" / "three"
    shutil.copytree(tmp_path / "evaluated" / "one", other)
    scores = json.loads((other / "scores.json").read_text())
    (other / "scores.json").write_text(json.dumps(scores | {"test_sha256": "of other images"}))
    found = compare(prepared, tmp_path / "evaluated", tmp_path, candidates=["one", "two", "three"])
    assert [one["name"] for one in found["candidates"]] == ["one"]
    reasons = {one["name"]: one["reason"] for one in found["not_ranked"]}
    assert "was not scored" in reasons["two"]
    assert "of other test images" in reasons["three"]


def test_with_nobody_to_rank_there_is_no_leaderboard(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no candidate can be ranked: one was not scored"):
        compare(prepared, tmp_path, tmp_path / "reports", candidates=["one"])
    assert not (tmp_path / "reports").exists()
