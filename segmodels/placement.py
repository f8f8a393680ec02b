"""Which split every sample of a dataset gets, once all have been seen, and what is to be said of it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from segmodels import duplicates, leaks, splits
from segmodels.duplicates import Fingerprint
from segmodels.errors import DatasetError
from segmodels.leaks import Leak, Placed
from segmodels.remembered import Remembered
from segmodels.samples import Sample, SegmentationClass, Split, Task, trained
from segmodels.shards import Shard
from segmodels.suspects import Labelled

LEAKS_TOLD, SEEDS_TRIED = 12, 50

Draw = Callable[[int], dict[str, Split]]
"""The split of every sample by its id, from a seed."""


@dataclass(frozen=True)
class Seen:
    """What is wanted of every sample's facts, which are too many to keep: by id how an image is recognised and the classes it shows."""

    fingerprints: dict[str, Fingerprint]
    classes: dict[str, list[int]]
    labelled: list[Labelled]

    @classmethod
    def of(cls, made: Sequence[Shard]) -> "Seen":
        seen = cls({}, {}, [])
        for shard in made:
            for row in shard.rows():
                seen.fingerprints[row.id] = row.facts.fingerprint
                seen.classes[row.id] = row.facts.classes
                seen.labelled.append(row.facts.labelled(row.id))
        return seen


@dataclass(frozen=True)
class Placement:
    """Where every sample belongs, by its id, and what therefore stands on two sides.

    Attributes:
        scenes: what a sample belongs to with others that it is not independent of.
        seed: that it was asked for with.
        drawn_with: draws with another; None where lists are given.
    """

    splits: dict[str, Split]
    scenes: dict[str, str]
    leaks: list[Leak]
    seed: int
    drawn_with: Draw | None


def place(
    samples: Sequence[Sample],
    fingerprints: Mapping[str, Fingerprint],
    *,
    shown: Mapping[str, Collection[int]],
    groups: Mapping[str, str],
    has_groups: bool,
    method: str,
    val: float,
    test: float,
    seed: int,
    near_duplicates: Literal["together", "ignore"],
    remembered: Remembered | None,
    notice: Callable[[str], None],
) -> Placement:
    """Place every sample; the same image stays on one side of splits that are drawn, with "together" one that looks the same too.

    Args:
        fingerprints: of every sample's image, by its id, and `shown` the classes that it shows.
        groups: of every sample by its id; `has_groups`: they are of a pattern, so that each is a scene.
        remembered: where the dataset's images were put before; what was drawn otherwise does not count, which is said.

    Raises:
        DatasetError: a split would have no images, or lists are asked for and some samples are on none.
    """
    is_given = splits.are_given(samples, method)
    if remembered is not None and not is_given and remembered.splitting.draw != (seed, val, test):
        notice(
            f"the splits are drawn anew: splits.seed, val and test were {', '.join(map(str, remembered.splitting.draw))} when the dataset was brought "
            f"in; scores before and after are not of the same images; bring the dataset in again (`make data`), so that it is remembered"
        )
        remembered = None
    left_out = splits.without_list(samples)
    if is_given and left_out:
        tested = "the validation list is tested, and " if "test" in left_out else ""
        notice(f"the dataset has no list for {' and '.join(left_out)}: {tested}validation images are drawn from training")
    alike = linked(fingerprints, near_duplicates)

    def draw(draw_seed: int, before: Remembered | None) -> dict[str, Split]:
        return splits.assign(
            samples,
            groups,
            method=method,
            val=val,
            test=test,
            seed=draw_seed,
            images={name: one.pixels for name, one in fingerprints.items()},
            shown=shown,
            alike=alike,
            remembered=before,
        )

    assigned = draw(seed, remembered)
    known = {sample.id for sample in samples if has_groups or sample.group is not None}
    leaking = leaks.find(
        [Placed(name, split, groups[name] if name in known else None, fingerprints[name]) for name, split in assigned.items()]
    )
    scenes = splits.scenes(groups, alike)
    return Placement(assigned, scenes, leaking, seed, None if is_given else lambda other_seed: draw(other_seed, None))


def linked(fingerprints: Mapping[str, Fingerprint], near_duplicates: Literal["together", "ignore"]) -> list[tuple[str, str]]:
    """Ids of samples that must stand together."""
    names = list(fingerprints)
    links = duplicates.links(list(fingerprints.values()), looks=near_duplicates == "together")
    return [(names[one], names[other]) for one, other in links]


def tell_shares(
    placement: Placement, samples: Sequence[Sample], wanted: Mapping[Split, float], notice: Callable[[str], None]
) -> None:
    """Say where the splits that were drawn have become much larger or smaller than was asked for, as what stands together makes them."""
    if placement.drawn_with is None:
        return
    found = {split: sum(one == split for one in placement.splits.values()) / len(samples) for split in wanted}
    if any(not share / 2 <= found[split] <= 2 * share for split, share in wanted.items() if share > 0):
        told = ", ".join(f"{split} has {found[split]:.0%} of the images, not {share:.0%}" for split, share in wanted.items())
        notice(
            f"{told}: images that stand together (a group, or those that look the same) go to one split whole, and to test if one of them "
            f"was there before; label other scenes, name groups with splits.group, set splits.near_duplicates: ignore, or draw anew with "
            f"another splits.seed"
        )


def refuse_nothing_to_learn(placement: Placement, seen: Seen, classes: Sequence[SegmentationClass], task: Task) -> None:
    """A class that no mask shows yet may come with later labels; but if nothing can be told from anything, the masks are wrong.

    Raises:
        DatasetError: the training masks show too few classes, or those of another split none.
    """
    names = [one.name for one in trained(classes)]
    shown: dict[Split, set[int]] = {"train": set(), "val": set(), "test": set()}
    for name, split in placement.splits.items():
        shown[split].update(seen.classes[name])
    overlap = task == "multilabel"
    if len(shown["train"]) < (1 if overlap else 2):
        found = [names[index] for index in sorted(shown["train"])]
        listed = ", ".join(f"{one.name} = {one.value}" for one in classes)
        ids = f"the ids of the classes ({listed}) against the values in the masks (255 is void unless a class has that id)"
        raise DatasetError(
            f"the training masks show {f'only {found[0]}' if found else 'no class at all'} of {', '.join(names)}: there is nothing to "
            f"learn; check {'that they hold 255 where a class is' if overlap else ids}"
        )
    splits_scored: tuple[Split, ...] = ("val", "test")
    for split in splits_scored:
        if not shown[split]:
            count = sum(one == split for one in placement.splits.values())
            raise DatasetError(
                f"none of the {count} masks of the split {split} shows any of {', '.join(names)}: there is nothing to score; "
                f"label more, choose another splits.seed, or raise splits.{split}"
            )


def refuse_or_tell_leaks(found: Sequence[Leak], on_leak: Literal["report", "error"], notice: Callable[[str], None]) -> None:
    """Say what is on two sides of the splits.

    Raises:
        DatasetError: there is something, and `on_leak` is "error".
    """
    remedy = "splits.method: group draws splits that keep a scene on one side"
    if found and on_leak == "error":
        raise DatasetError(
            f"the splits leak in {len(found)} places, and splits.on_leak is `error`; {remedy}", [str(one) for one in found]
        )
    for one in found[:LEAKS_TOLD]:
        notice(f"leak: {one}")
    if found:
        notice(f"the splits leak in {len(found)} places, scores come out too high; {remedy} (all are in leaks.json)")


def tell_lacking(placement: Placement, seen: Seen, classes: Sequence[SegmentationClass], notice: Callable[[str], None]) -> None:
    """Say which classes a split does not show, and the seed with which each would show all.

    Every class is spread evenly as it comes in; but what has once been put somewhere stays there.
    """
    names = [one.name for one in trained(classes)]
    lacking = splits.lacking(placement.splits, seen.classes)
    for index, without in lacking.items():
        used = {"train": "learned", "val": "looked at while it is trained", "test": "scored"}
        notice(
            f"{names[index]} is in no image of {' and '.join(without)}: it is not {', nor '.join(used[one] for one in without)}"
        )
    if lacking and placement.drawn_with is not None:
        others = [seed for seed in range(SEEDS_TRIED) if seed != placement.seed]
        found = next((seed for seed in others if not _lacks(placement.drawn_with, seed, seen)), None)
        if found is not None:
            notice(f"splits.seed: {found} has every class in every split; to be chosen before the test set is relied on")


def _lacks(draw: Draw, seed: int, seen: Seen) -> bool:
    try:
        return bool(splits.lacking(draw(seed), seen.classes))
    except DatasetError:  # a split would have no images
        return True
