"""What `auto` comes to where the dataset alone decides: pure functions of the prepared store."""

from dataclasses import dataclass
from typing import Any, Literal

from segmodels.architectures import _smp
from segmodels.class_balance import LARGEST_WEIGHT, class_weights
from segmodels.errors import InputError
from segmodels.samples import RGB, ImageKind, trained
from segmodels.store import Store

MAX_AREA_PX = 512 * 512
SIDE_MULTIPLE_PX, MIN_SIDE_PX = 32, 64
IMAGES_SEEN = 40_000
"""How many augmented images a training from scratch is given: 100 epochs of a few hundred images."""
FEWEST_EPOCHS, MOST_EPOCHS = 20, 300


@dataclass(frozen=True)
class Decision:
    """A value that was left to us. `key` is its path among a candidate's params, `value` plain JSON, `reason` a sentence for people."""

    key: str
    value: Any
    reason: str


def size_px(store: Store) -> tuple[int, int]:
    """Height and width that the network sees: those of the median training image, shrunk where it is larger than MAX_AREA_PX."""
    training = store.manifest[store.manifest["split"] == "train"]
    height, width = float(training["height"].median()), float(training["width"].median())
    scale = min(1.0, (MAX_AREA_PX / (height * width)) ** 0.5)
    sides = [max(MIN_SIDE_PX, round(side * scale / SIDE_MULTIPLE_PX) * SIDE_MULTIPLE_PX) for side in (height, width)]
    return sides[0], sides[1]


def decide_size_px(store: Store) -> Decision:
    limit = round(MAX_AREA_PX**0.5)
    reason = f"the median training image in multiples of {SIDE_MULTIPLE_PX}, with hardly more pixels than {limit} x {limit}"
    return Decision("training.size_px", list(size_px(store)), reason)


def decide_epochs(store: Store) -> Decision:
    num_images = len(store.rows("train"))
    epochs = min(max(round(IMAGES_SEEN / num_images), FEWEST_EPOCHS), MOST_EPOCHS)
    reason = f"{IMAGES_SEEN:,} images seen, of {num_images} to train on, in {FEWEST_EPOCHS} to {MOST_EPOCHS} epochs"
    return Decision("training.epochs", epochs, reason)


def decide_normalisation(weights: str | None, kind: ImageKind = RGB) -> Decision:
    if weights == "imagenet" and kind == RGB:
        return Decision("training.normalisation", "imagenet", "the encoder was pretrained on images normalised so")
    return Decision(
        "training.normalisation",
        "dataset",
        "mean and deviation of the training images, as there is no pretraining on images like them",
    )


def mean_and_std(store: Store, normalisation: Literal["dataset", "imagenet"], encoder: str) -> dict[str, list[float]]:
    """What the network normalises by, as keywords of `network.build`."""
    if normalisation == "imagenet" and store.kind != RGB:
        raise InputError(
            f"training.normalisation: is imagenet, which is of {RGB}, but the images are {store.kind}; set it to dataset or auto"
        )
    mean, std = (store.mean, store.std) if normalisation == "dataset" else _smp.normalisation(encoder)
    return {"mean": mean, "std": std}


def decide_class_weights(store: Store, key: str) -> Decision:
    """Rare classes count more (see `class_weights`)."""
    weights = class_weights(store)
    names = [one.name for one in trained(store.classes)]
    of = [names[1]] if store.labels.task == "binary" else names
    rarest = max(range(len(weights)), key=weights.__getitem__)
    how = "no against yes, in pixels" if store.labels.task != "multiclass" else "median frequency over its own"
    return Decision(key, weights, f"{how}, at most {LARGEST_WEIGHT:g}; {of[rarest]} counts most")
