"""What every component of a catalog must do; a new file is tested by being there."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmodels import augment, catalog
from segmodels.errors import ParamsError
from segmodels.recipes import Recipe
from segmodels.schedules._moment import Moment


def rates(name: str, steps: int, **options: object) -> list[float]:
    """The factors of a training of `steps` epochs of one step, with a validation score that rises and falls."""
    schedule = catalog.build("schedules", name, options=options)
    scores = [0.1 + 0.05 * math.sin(step) for step in range(steps)]
    return [schedule(Moment(step, steps, 1, scores[:step])) for step in range(steps)]


@pytest.mark.parametrize("name", catalog.names("schedules"))
def test_a_schedule_goes_from_the_rate_down(name: str) -> None:
    found = rates(name, 40)
    assert found[0] == 1
    assert found == sorted(found, reverse=True)
    assert 0 <= found[-1] < 1


@pytest.mark.parametrize("name", catalog.names("augmentations"))
def test_an_augmentation_is_sound(name: str) -> None:
    recipe = Recipe(catalog.build("augmentations", name, (64, 96)), (64, 96))
    mask = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3), np.ones((50, 60), np.uint8))
    image = np.repeat(mask[..., None] * 40, 3, axis=2)
    for seed in range(20):
        augment.check(recipe, image, mask, name="drawn", seed=seed)


@pytest.mark.parametrize("name", catalog.names("augmentations"))
@settings(max_examples=20)
@given(data=st.data())
def test_an_augmentation_keeps_labels_and_moves_image_and_mask_together(name: str, data: st.DataObject) -> None:
    """Of images and masks of any size, with any labels."""
    rows, columns = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    labels = data.draw(st.lists(st.integers(0, 255), min_size=rows * columns, max_size=rows * columns))
    block = np.ones((data.draw(st.integers(12, 60)), data.draw(st.integers(12, 60))), np.uint8)
    mask = np.kron(np.array(labels, np.uint8).reshape(rows, columns), block)
    image = np.repeat(mask[..., None], 3, axis=2)
    size_px = data.draw(st.sampled_from([(32, 32), (64, 96), (96, 40)]))
    recipe = Recipe(catalog.build("augmentations", name, size_px), size_px)
    seed = data.draw(st.integers(0, 2**32 - 1))
    augment.check(recipe, image, mask, name="drawn", seed=seed)
    again = recipe(image, mask, seed=seed)
    assert all((one == other).all() for one, other in zip(recipe(image, mask, seed=seed), again, strict=True))


def test_an_unknown_name_says_the_nearest() -> None:
    with pytest.raises(ParamsError, match="there is no 'cross_entrpy', did you mean 'cross_entropy'"):
        catalog.load("losses", "cross_entrpy")


def test_an_unknown_option_says_the_options() -> None:
    with pytest.raises(ParamsError, match=r"schedules.poly has no option 'pwer', did you mean 'power'\?; its options are: power"):
        catalog.build("schedules", "poly", options={"pwer": 1})


@pytest.mark.parametrize("name", catalog.names("architectures"))
def test_encoder_and_weights_are_no_options_of_an_architecture(name: str) -> None:
    assert isinstance(catalog.default("architectures", name, "encoder"), str)
    with pytest.raises(ParamsError, match="has no option 'encoder'"):
        catalog.checked_options("architectures", name, {"encoder": "resnet18"})


@pytest.mark.parametrize("kind", ["architectures", "augmentations", "losses", "schedules"])
def test_every_option_is_of_its_type_as_it_comes(kind: str) -> None:
    for name in catalog.names(kind):
        for key in set(catalog._keywords(kind, name)) - catalog.KEYS_OF_THEIR_OWN:
            usual = catalog.default(kind, name, key)
            assert catalog.checked_options(kind, name, {key: usual}) == {key: usual}
            with pytest.raises(ParamsError, match=f"{kind}.{name}: {key} is .*; expected "):
                catalog.checked_options(kind, name, {key: {"no": "option"}})


def test_every_component_says_what_it_is() -> None:
    root = Path(catalog.__file__).parent
    for kind in ("architectures", "augmentations", "formats", "losses", "schedules"):
        for name in catalog.names(kind):
            assert (root / kind / f"{name}.py").read_text().startswith('"""'), name


@pytest.mark.parametrize(
    "kinds",
    [
        {"ElasticTransform"},
        {"GridDistortion"},
        {"Affine"},
        {"RandomCrop", "RandomResizedCrop"},
        {"HorizontalFlip", "D4"},
        {"ColorJitter"},
        {"RandomBrightnessContrast", "RandomGamma", "RandomToneCurve"},
        {"GaussNoise"},
        {"GaussianBlur", "MotionBlur", "Defocus"},
        {"CoarseDropout"},
    ],
    ids=lambda kinds: min(kinds),
)
def test_together_the_recipes_draw_every_kind_of_change(kinds: set[str]) -> None:
    found = set[str]()
    waiting = [one for name in catalog.names("augmentations") for one in catalog.build("augmentations", name, size_px=(64, 64))]
    while waiting:
        one = waiting.pop()
        found.add(type(one).__name__)
        waiting += getattr(one, "transforms", [])
    assert kinds & found, sorted(found)
