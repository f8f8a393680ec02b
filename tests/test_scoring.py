"""evaluate and compare: scores from what the bundle predicts, ranked with intervals, nobody ranked on other images."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from segmodels import bundle, metrics, network
from segmodels.compare import compare
from segmodels.errors import DatasetError, InputError
from segmodels.evaluate import draw_worst, evaluate
from segmodels.predict import Predictor
from segmodels.samples import SegmentationClass
from segmodels.store import Store


def save_untrained(folder: Path, store: Store, *, classes: list[SegmentationClass] | None = None) -> None:
    listed = classes or store.classes
    options = {"decoder_channels": [8, 8]}
    facts: dict[str, Any] = {"architecture": "unet", "encoder": "resnet18", "options": options}
    segmenter = network.build(**facts, weights=None, num_logits=len(listed), mean=store.mean, std=store.std)
    bundle.save(
        folder,
        segmenter,
        candidate=folder.name,
        **facts,
        task="multiclass",
        classes=listed,
        size_px=(48, 64),
        training={},
        dataset_sha256=store.sha256,
    )


@pytest.fixture(scope="module")
def evaluated(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `evaluate` writes for two untrained candidates."""
    root = tmp_path_factory.mktemp("evaluated")
    for name in ("one", "two"):
        save_untrained(root / "bundles" / name, Store(prepared))
        reports = root / "reports" / name
        evaluate(prepared, root / "bundles" / name, root / "evaluated" / name, reports / "scores.json", reports / "worst.png")
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
    monkeypatch.setattr("segmodels.evaluate.sheet", lambda path, rows, **rest: drawn.update(rest, rows=rows))
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
        evaluate(prepared, tmp_path / "b", tmp_path / "e", tmp_path / "s.json", tmp_path / "w.png")
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


def test_the_bootstrap_keeps_scenes_together() -> None:
    # two scenes of 50 equal images each: the mean is of 2 draws, so its deviation is that of one scene / sqrt(2)
    right = np.repeat([[90], [10]], 50, axis=0)
    full = np.full((100, 1), 100)
    scenes = np.repeat(["a", "b"], 50)
    drawn = metrics.bootstrap_miou(right, full, right, scenes, seed=0)
    # IoU is 0.9, 0.5 or 0.1 with chances 1/4, 1/2, 1/4
    assert sorted(set(np.round(drawn, 6))) == [0.1, 0.5, 0.9]
    assert np.mean(drawn == np.median(drawn)) == pytest.approx(0.5, abs=0.05)
    alone = metrics.bootstrap_miou(right, full, right, np.arange(100).astype(str), seed=0)
    assert alone.std() == pytest.approx(0.04, abs=0.005)  # sqrt(0.25 * 0.8 ** 2 / 100)
