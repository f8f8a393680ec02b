"""The drawn dataset: the same by seed, exact masks, every shape an instance, and one that a worse model does worse on."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmodels import shapes
from segmodels.dataset import open_dataset
from segmodels.errors import InputError
from tests.conftest import decoded


def test_the_same_seed_draws_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        shapes.write(tmp_path / name, count=3, size_px=(40, 56), seed=9)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(files) == 3 * 3 + 2
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_pictures_do_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    shapes.write(tmp_path / "few", count=1, size_px=(40, 56), seed=9)
    shapes.write(tmp_path / "many", count=2, size_px=(40, 56), seed=9)
    first = "images/shapes_00000.png"
    assert (tmp_path / "few" / first).read_bytes() == (tmp_path / "many" / first).read_bytes()


def test_it_is_a_sound_dataset_with_five_classes(drawn: Path) -> None:
    dataset = open_dataset(drawn)
    pairs = decoded(dataset)
    assert len(pairs) == 24
    assert {int(value) for _, _, mask in pairs for value in np.unique(mask)} == {0, 1, 2, 3, 4}


def test_every_instance_is_of_one_class_and_the_background_of_none() -> None:
    occluded = 0
    for seed in range(20):
        drawing = shapes.draw(size_px=(64, 80), seed=seed)
        assert ((drawing.instances == 0) == (drawing.mask == 0)).all()
        numbers = np.unique(drawing.instances)
        assert numbers.tolist() == list(range(len(numbers)))
        for number in numbers[1:]:
            assert len(np.unique(drawing.mask[drawing.instances == number])) == 1
        # touching instances: one lies over the other
        beside = drawing.instances[:, :-1], drawing.instances[:, 1:]
        occluded += bool(((beside[0] != beside[1]) & (beside[0] > 0) & (beside[1] > 0)).any())
    assert occluded >= 10


def test_edges_are_anti_aliased() -> None:
    covered = shapes._coverage("disc", (64, 64), np.array([32.0, 32.0]), 20.0, np.random.default_rng(0))
    edge = ((covered > 0) & (covered < 1)).sum()
    assert edge > 60  # about a pixel for every pixel of the outline, 2 * pi * 20 * 0.87
    assert covered[32, 32] == 1


def test_colour_alone_does_not_tell_the_class() -> None:
    """The best guess from a pixel's hue alone, learned from other pictures, stays well below what networks reach."""

    def hues(seeds: range) -> tuple[np.ndarray, np.ndarray]:
        drawings = [shapes.draw(size_px=(64, 64), seed=seed) for seed in seeds]
        hsv = [np.asarray(Image.fromarray(one.image).convert("HSV"))[..., 0] // 8 for one in drawings]
        return np.concatenate([h.reshape(-1) for h in hsv]), np.concatenate([one.mask.reshape(-1) for one in drawings])

    table = np.zeros((32, 5), np.int64)
    np.add.at(table, hues(range(60)), 1)
    hue, truth = hues(range(100, 130))
    guess = table.argmax(axis=1)[hue]
    iou = [((guess == k) & (truth == k)).sum() / ((guess == k) | (truth == k)).sum() for k in range(5)]
    assert np.mean(iou) < 0.65


def test_a_dataset_of_ones_own_is_not_drawn_over(tmp_path: Path) -> None:
    (tmp_path / "precious.png").write_bytes(b"mine")
    with pytest.raises(InputError, match="was not drawn by"):
        shapes.write(tmp_path, count=1, size_px=(40, 56), seed=0)
    assert (tmp_path / "precious.png").read_bytes() == b"mine"


def test_a_drawn_dataset_is_drawn_over(tmp_path: Path) -> None:
    shapes.write(tmp_path / "d", count=2, size_px=(40, 56), seed=0)
    shapes.write(tmp_path / "d", count=1, size_px=(40, 56), seed=0)
    assert len(list((tmp_path / "d" / "images").iterdir())) == 1
