"""Which sample trains, validates and tests. A pure function of the images, of which belong together, of the seed, and of what was before.

Groups, and groups that are alike (they have the same image, say), stand together. Where they stand is drawn once for all of them, by
the hashes of their images: whatever files are called. What was put somewhere before stays there; see remembered.py. What is new is spread
so that each split gets its share of the images of every class, of the rare ones above all.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from segmodels.errors import DatasetError, ParamsError
from segmodels.remembered import Remembered
from segmodels.samples import SPLITS, Part, Sample, Split

FEW = 200
"""Of more groups some fall into each split whatever the seed."""
GOLDEN = (5**0.5 - 1) / 2
"""Steps of it around a circle, however many and from wherever, leave no part of it long without one (the three-distance theorem)."""


def groups_of(samples: Sequence[Sample], pattern: str | None) -> dict[str, str]:
    """The group of every sample by its id: what the pattern's first parentheses match, else the dataset's, else the sample alone."""
    if pattern is None:
        return {sample.id: sample.group or sample.id for sample in samples}
    matches = {sample.id: re.search(pattern, sample.id) for sample in samples}
    unmatched = [name for name, match in matches.items() if match is None or match[1] is None]
    if unmatched:
        raise ParamsError(f"splits.group: {pattern!r} does not match {len(unmatched)} ids, e.g. {min(unmatched)!r}")
    return {name: match[1] for name, match in matches.items() if match is not None}


def are_given(samples: Sequence[Sample], method: str) -> bool:
    """Whether the dataset's lists decide: `method` is "given", or "auto" and they tell splits apart."""
    return method == "given" or (method == "auto" and len({sample.split for sample in samples} - {None}) > 1)


def assign(
    samples: Sequence[Sample],
    groups: Mapping[str, str],
    *,
    method: str,
    val: float,
    test: float,
    seed: int,
    images: Mapping[str, str],
    shown: Mapping[str, Collection[int]],
    alike: Iterable[tuple[str, str]] = (),
    remembered: Remembered | None = None,
) -> dict[str, Split]:
    """The split of every sample by its id.

    Args:
        method: "given" takes the dataset's lists, "group" draws by group, "auto" takes lists where there are two or more, and draws what
            they leave out: validation from training; without a test list that of validation is tested. One list alone, of some samples,
            is kept to as the rest is drawn.
        val, test: shares of what stands together, where drawn.
        images: the hash of every sample's image, by its id.
        shown: the classes that it shows.
        alike: ids of samples that must stand together, where drawn.
        remembered: where samples were put before: there they stay, with all that stands together with them. Where several of these
            were put apart, before it was known that they belong together, all of them are tested if one was.

    Raises:
        DatasetError: a split would have no images, or lists are asked for and some samples are on none.
    """
    together = _together(groups, alike)
    if are_given(samples, method):
        return given(samples) if method == "given" else _completed(_listed(samples), groups, together, images, val, seed)
    # a list of some is kept to; one of all tells nothing apart
    listed = [one for one in samples if method == "auto" and one.split is not None]
    known: dict[str, Split | None] = {one.id: one.split for one in listed} if len(listed) < len(samples) else {}
    first_image: dict[str, str] = {}
    classes: dict[str, set[int]] = {}
    before: dict[str, Split] = {}
    for name, group in groups.items():
        root, image = together[group], images[name]
        first_image[root] = min(first_image.get(root, image), image)
        classes.setdefault(root, set()).update(shown[name])
        there = known.get(name) or (remembered.split(image, name) if remembered is not None else None)
        if there is not None:
            before[root] = max(before.get(root, "train"), there, key=SPLITS.index)
    new = {root: image for root, image in first_image.items() if root not in before}
    side = before | _spread(new, _rarest(classes), val, test, seed)
    splits = {name: side[together[group]] for name, group in groups.items()}
    if set(splits.values()) != set(SPLITS):
        largest = max(Counter(together.values()).values())
        remedy = _remedy(first_image, _rarest(classes), val, test, seed)
        if largest > len(together) / 2:
            remedy = f"{largest} of {len(together)} groups look alike and stay together; set splits.near_duplicates: ignore"
        _refuse_empty(splits, remedy)
    return splits


def given(samples: Sequence[Sample]) -> dict[str, Split]:
    """The split of every sample by its id, as the dataset's lists have it.

    Raises:
        DatasetError: a split would have no images, or some samples are on no list.
    """
    splits = _listed(samples)
    _refuse_empty(splits, "the dataset's lists leave it out; add a list for it, or set splits.method: auto or group")
    return splits


def without_list(samples: Sequence[Sample]) -> list[Split]:
    """The splits that the dataset's lists have nothing for, where it has lists."""
    listed = {sample.split for sample in samples}
    return [split for split in SPLITS if split not in listed] if listed != {None} else []


def _listed(samples: Sequence[Sample]) -> dict[str, Split]:
    missing = [sample.id for sample in samples if sample.split is None]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(samples)} samples are on no list, e.g. {min(missing)}; list them or set splits.method: group"
        )
    return {sample.id: sample.split for sample in samples if sample.split is not None}


def _completed(
    listed: dict[str, Split],
    groups: Mapping[str, str],
    together: Mapping[str, str],
    images: Mapping[str, str],
    val: float,
    seed: int,
) -> dict[str, Split]:
    """Lists as they are published, whose test images have no labels: the validation list is tested; validation is drawn from training."""
    there = set(listed.values())
    if there >= set(SPLITS):
        return listed
    splits: dict[str, Split] = {
        name: "test" if split == "val" and "test" not in there else split for name, split in listed.items()
    }
    train = [name for name, split in splits.items() if split == "train"]
    first_image: dict[str, str] = {}
    for name in train:
        root = together[groups[name]]
        first_image[root] = min(first_image.get(root, images[name]), images[name])
    if "val" not in splits.values():
        splits |= {name: _draw(first_image[together[groups[name]]], val, 0, seed) for name in train}
    _refuse_empty(
        splits,
        "the dataset's lists leave it out, and what is drawn from training does not fill it; add a list for it, or set splits.method: group",
    )
    return splits


def with_vault(
    assigned: Mapping[str, Split],
    scenes: Mapping[str, str],
    share: float,
    seed: int,
    *,
    images: Mapping[str, str],
    remembered: Remembered | None = None,
) -> dict[str, Part]:
    """The same with a share of the test scenes in the vault, drawn by each scene's name.

    Args:
        assigned, scenes, images: the split, the scene and the hash of the image of every sample, by its id.
        remembered: where samples were put before: under the same share their scenes stay. A scene that turns out to be one with another
            that was tested openly is no secret any more, and is tested openly.
    """
    parts: dict[str, Part] = dict(assigned)
    if not share:
        return parts
    tested = [name for name, split in assigned.items() if split == "test"]
    before = remembered if remembered is not None and remembered.splitting.vault == share else None
    known: dict[str, set[Part]] = {}
    for name in tested:
        part = before.part(images[name], name) if before is not None else None
        if part in ("test", "vault"):
            known.setdefault(scenes[name], set()).add(part)

    def is_kept(scene: str) -> bool:
        return known[scene] == {"vault"} if scene in known else _position(f"vault {scene}", seed) < share

    return parts | {name: "vault" for name in tested if is_kept(scenes[name])}


def refuse_vault_of_all_or_nothing(parts: Mapping[str, Part], scenes: Mapping[str, str], share: float) -> None:
    """Raises DatasetError where a vault was asked for and has no scene, or all that are tested."""
    kept, tested = ({scenes[name] for name, part in parts.items() if part == which} for which in ("vault", "test"))
    if share and not (kept and tested):
        raise DatasetError(
            f"splits.vault: {share:g} of {len(kept | tested)} test scenes is {'all' if kept else 'none'} of them; label more scenes, or change it"
        )


def lacking(assigned: Mapping[str, Split], shown: Mapping[str, Collection[int]]) -> dict[int, list[Split]]:
    """The classes that are shown somewhere, but in no image of these splits.

    Args:
        shown: the classes of every image, by its id.
    """
    seen: dict[Split, set[int]] = {split: set() for split in SPLITS}
    for name, split in assigned.items():
        seen[split].update(shown[name])
    every = set[int]().union(*seen.values())
    found = {index: [split for split in SPLITS if index not in seen[split]] for index in sorted(every)}
    return {index: splits for index, splits in found.items() if splits}


def scenes(groups: Mapping[str, str], alike: Iterable[tuple[str, str]]) -> dict[str, str]:
    """By id what a sample belongs to: its group, and with it all groups that it is alike with, named by the first of them."""
    together = _together(groups, alike)
    return {name: together[group] for name, group in groups.items()}


def _together(groups: Mapping[str, str], alike: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Of each group the first, by name, of all that it is alike with, over whichever others."""
    first = {group: group for group in groups.values()}

    def root(group: str) -> str:
        while first[group] != group:
            first[group] = first[first[group]]
            group = first[group]
        return group

    for one, other in alike:
        low, high = sorted((root(groups[one]), root(groups[other])))
        first[high] = low
    return {group: root(group) for group in first}


def _rarest(classes: Mapping[str, Collection[int]]) -> dict[str, tuple[int, int]]:
    """Of the classes that something shows, the one that fewest show: how many do, and which."""
    times = Counter(index for shown in classes.values() for index in shown)
    return {name: min(((times[index], index) for index in shown), default=(len(classes), -1)) for name, shown in classes.items()}


def _spread(
    first_image: Mapping[str, str], rarest: Mapping[str, tuple[int, int]], val: float, test: float, seed: int
) -> dict[str, Split]:
    """Each with the chance that was asked for, and those of one rarest class evenly: such as stand beside each other go around the
    splits in equal steps, from a place that the seed and the images draw."""
    if not first_image:
        return {}
    ordered = sorted(first_image, key=lambda one: (rarest[one], _position(first_image[one], seed)))
    start = _position(f"start {min(first_image.values())}", seed)
    return {one: _at((start + number * GOLDEN) % 1, val, test) for number, one in enumerate(ordered)}


def _draw(image: str, val: float, test: float, seed: int) -> Split:
    """By itself, whatever else there is."""
    return _at(_position(image, seed), val, test)


def _position(what: str, seed: int) -> float:
    """Uniform in [0, 1)."""
    digest = hashlib.sha256(f"{seed}\0{what}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _at(position: float, val: float, test: float) -> Split:
    return "test" if position < test else "val" if position < test + val else "train"


def _refuse_empty(splits: Mapping[str, Split], remedy: str) -> None:
    counts = Counter(splits.values())
    empty = [split for split in SPLITS if not counts[split]]
    if empty:
        raise DatasetError(f"the split {' and '.join(empty)} would have no images of {len(splits)}; {remedy}")


def _remedy(first_image: Mapping[str, str], rarest: Mapping[str, tuple[int, int]], val: float, test: float, seed: int) -> str:
    few = {root: first_image[root] for root in list(first_image)[:FEW]}
    for other in range(1000):
        if other != seed and set(_spread(few, rarest, val, test, other).values()) == set(SPLITS):
            return f"splits.seed: {other} would fill all three, or raise splits.val and splits.test"
    return f"there are only {len(first_image)} groups: raise splits.val and splits.test, or label more scenes"
