"""Crops around rare classes."""

import numpy as np

from segmodels import crops
from segmodels.samples import IGNORE_INDEX


def test_a_rare_class_is_shown_as_often_as_a_common_one() -> None:
    mask = np.zeros((400, 600), np.uint8)
    mask[17, 580] = 1
    image = np.repeat(mask[..., None], 3, axis=2)
    shown = 0
    for seed in range(400):
        drawn_image, drawn_mask = crops.balanced(image, mask, (32, 48), np.random.default_rng(seed))
        assert drawn_mask.shape == (64, 96)  # twice the size asked for
        assert (drawn_image[..., 0] == drawn_mask).all()
        shown += bool((drawn_mask == 1).any())
    # half of the draws are for class 1; a crop for class 0 is there in about 1 of 50
    assert 165 < shown < 240


def test_a_small_image_comes_back_whole() -> None:
    mask = np.zeros((40, 600), np.uint8)
    _, drawn = crops.balanced(np.zeros((40, 600, 3), np.uint8), mask, (32, 48), np.random.default_rng(0))
    assert drawn.shape == (40, 96)


def test_void_is_no_class_to_look_for() -> None:
    mask = np.full((200, 200), IGNORE_INDEX, np.uint8)
    image = np.zeros((200, 200, 3), np.uint8)
    assert crops.balanced(image, mask, (32, 32), np.random.default_rng(0))[1] is mask
    mask[150, 150] = 3
    for seed in range(20):
        assert (crops.balanced(image, mask, (32, 32), np.random.default_rng(seed))[1] == 3).any()
