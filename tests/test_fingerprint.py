"""What `auto` comes to from the dataset alone, worked by hand."""

from pathlib import Path

import numpy as np
import pytest

from segmodels import class_balance, fingerprint
from segmodels.samples import SegmentationClass, Task
from segmodels.shards import Pair
from segmodels.store import Store
from tests.conftest import stored

CLASSES = [SegmentationClass(name, index, (index, 0, 0)) for index, name in enumerate("abc")]


def training_on(folder: Path, labellings: list[np.ndarray], task: Task = "multiclass", classes: int = 3) -> Store:
    """A store whose training images have these masks."""
    samples = []
    for number, labelling in enumerate(labellings):
        image = np.zeros((*labelling.shape[-2:], 3), np.uint8)
        samples.append(Pair(f"s{number}", image, labelling))
    return stored(folder, samples, CLASSES[:classes], task)


def of_size(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width), np.uint8)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(360, 480)], (352, 480)),  # 360 is nearer to 352 than to 384
        ([(100, 100), (128, 130), (700, 900)], (128, 128)),  # of the median image
        ([(20, 500)], (64, 512)),  # no side below 64; 500 is nearer to 512 than to 480
        ([(1024, 2048)], (352, 736)),  # shrunk by 0.354 to 362 x 724
    ],
)
def test_the_size_is_that_of_the_median_image(tmp_path: Path, sizes: list[tuple[int, int]], expected: tuple[int, int]) -> None:
    found = training_on(tmp_path / "s", [of_size(*size) for size in sizes])
    assert fingerprint.size_px(found) == expected


@pytest.mark.parametrize(("num_images", "expected"), [(10, 300), (367, 109), (4000, 20)])
def test_fewer_images_are_seen_more_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_images: int, expected: int
) -> None:
    found = training_on(tmp_path / "s", [of_size(1, 1)])
    monkeypatch.setattr(found, "rows", lambda _: list(range(num_images)))
    decision = fingerprint.decide_epochs(found)  # 40,000 / 367 = 109.0
    assert (decision.key, decision.value) == ("training.epochs", expected)


def test_class_weights_are_median_frequency_over_its_own(tmp_path: Path) -> None:
    first = np.array([[0, 0, 0, 0, 0, 0, 1, 1]], np.uint8)
    second = np.array([[0, 0, 0, 0, 0, 0, 0, 255]], np.uint8)
    # a: 13 of 15 known pixels; b: 2 of the 8 of its only image; c: nowhere. The median of 0.8667 and 0.25 is 0.5583
    found = class_balance.class_weights(training_on(tmp_path / "s", [first, second]))
    assert found == pytest.approx([0.5583 / 0.8667, 0.5583 / 0.25, 1.0], rel=1e-3)


def test_a_very_rare_class_counts_no_more_than_ten_times(tmp_path: Path) -> None:
    mask = np.zeros((1, 1000), np.uint8)
    mask[0, 0] = 1
    # median 0.5 over 0.001 is 500
    assert class_balance.class_weights(training_on(tmp_path / "s", [mask], classes=2)) == [pytest.approx(0.5005, rel=1e-3), 10.0]


def test_of_yes_and_no_the_weight_is_how_many_say_no(tmp_path: Path) -> None:
    mask = np.array([[0, 0, 0, 0, 0, 0, 1, 1, 255]], np.uint8)
    decision = fingerprint.decide_class_weights(training_on(tmp_path / "s", [mask], "binary", classes=2), "loss.0.class_weights")
    assert decision.value == [3.0]
    assert "b counts most" in decision.reason


def test_of_overlapping_classes_each_is_weighed_by_itself(tmp_path: Path) -> None:
    labelling = np.array([[[1, 1, 1, 0]], [[1, 0, 0, 0]], [[0, 0, 0, 0]]], np.uint8)
    # a: 1 no against 3 yes; b: 3 against 1; c is nowhere
    assert class_balance.class_weights(training_on(tmp_path / "s", [labelling], "multilabel")) == [
        pytest.approx(1 / 3, rel=1e-3),
        3.0,
        1.0,
    ]


def test_what_is_unknown_of_a_class_says_no_to_none(tmp_path: Path) -> None:
    labelling = np.array([[[1, 0, 0, 255, 255, 255]], [[0, 1, 0, 0, 0, 0]], [[255] * 6]], np.uint8)
    # a: 2 no against 1 yes, 3 unknown; b: 5 against 1
    assert class_balance.class_weights(training_on(tmp_path / "s", [labelling], "multilabel")) == [2.0, 5.0, 1.0]


def test_a_pretrained_encoder_gets_images_as_it_knows_them(store: Store) -> None:
    assert fingerprint.decide_normalisation("imagenet").value == "imagenet"
    assert fingerprint.decide_normalisation(None).value == fingerprint.decide_normalisation("my.safetensors").value == "dataset"
    found = fingerprint.mean_and_std(store, "imagenet", "convnext_tiny")
    # ImageNet's means and deviations times 255
    assert found["mean"] == pytest.approx([123.675, 116.28, 103.53])
    assert found["std"] == pytest.approx([58.395, 57.12, 57.375])
    assert fingerprint.mean_and_std(store, "dataset", "convnext_tiny")["mean"] == store.mean
