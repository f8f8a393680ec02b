"""Splits: no group is on two sides, names do not matter, and a dataset that grows moves nobody."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from segmodels import splits
from segmodels.annotations import MaskFile
from segmodels.errors import DatasetError, ParamsError
from segmodels.remembered import Remembered, Splitting
from segmodels.samples import Sample, Split


def sample(name: str, *, split: Split | None = None, group: str | None = None) -> Sample:
    return Sample(name, Path(name), MaskFile(Path(name)), split=split, group=group)


def image(name: str) -> str:
    """The hash of the image that a sample of this name has, unless a test says otherwise."""
    return hashlib.sha256(name.encode()).hexdigest()


def assigned(
    samples: list[Sample],
    *,
    method: str = "auto",
    seed: int = 0,
    alike: Iterable[tuple[str, str]] = (),
    images: dict[str, str] | None = None,
    remembered: Remembered | None = None,
    shown: dict[str, list[int]] | None = None,
) -> dict[str, Split]:
    shown = shown or {one.id: [] for one in samples}
    images = images or {one.id: image(one.id) for one in samples}
    groups = splits.groups_of(samples, None)
    return splits.assign(
        samples,
        groups,
        method=method,
        val=0.2,
        test=0.3,
        seed=seed,
        images=images,
        shown=shown,
        alike=alike,
        remembered=remembered,
    )


def remember(before: dict[str, Split], seed: int = 0) -> Remembered:
    return Remembered(Splitting("group", None, 0.2, 0.3, seed, "together")).with_samples(
        before, {name: image(name) for name in before}
    )


MANY = [sample(f"i{n}", group=f"g{n % 40}") for n in range(200)]

growth = st.lists(st.tuples(st.text("abcdef", min_size=1, max_size=4), st.integers(0, 60)), max_size=30)


@given(growth, st.integers(0, 10))
def test_growth_moves_nobody_and_groups_stay_together(new: list[tuple[str, int]], seed: int) -> None:
    names = dict(new)
    grown = MANY + [sample(name, group=f"g{group}") for name, group in names.items()]
    before = assigned(MANY, seed=seed)
    after = assigned(grown, seed=seed, remembered=remember(before, seed))
    assert {name: after[name] for name in before} == before
    sides: dict[str, set[str]] = {}
    for one in grown:
        sides.setdefault(str(one.group), set()).add(after[one.id])
    assert all(len(found) == 1 for found in sides.values())


@given(st.permutations(range(60)), st.integers(0, 10))
@pytest.mark.unhurried
def test_names_do_not_matter(names: list[int], seed: int) -> None:
    """The same sixty images, called otherwise and listed otherwise, some of them in scenes called otherwise too."""
    scenes = [f"s{n % 7}" if n < 20 else None for n in range(60)]
    one = assigned(
        [sample(f"i{n}", group=scenes[n]) for n in range(60)], seed=seed, images={f"i{n}": image(str(n)) for n in range(60)}
    )
    others = [sample(f"cam1/{names[n]}", group=scenes[n] and f"x{scenes[n]}") for n in range(60)]
    other = assigned(
        sorted(others, key=lambda one: one.id), seed=seed, images={f"cam1/{names[n]}": image(str(n)) for n in range(60)}
    )
    assert [one[f"i{n}"] for n in range(60)] == [other[f"cam1/{names[n]}"] for n in range(60)]


@pytest.mark.parametrize("size", [1, 5, 20])
def test_how_many_stand_together_makes_no_split_larger(size: int) -> None:
    """A thousand clusters of images that look alike: a binomial with p = 0.3 has a standard deviation of 1.4 %."""
    many = [sample(f"i{cluster}-{n}") for cluster in range(1000) for n in range(size)]
    alike = [(f"i{cluster}-0", f"i{cluster}-{n}") for cluster in range(1000) for n in range(1, size)]
    drawn = list(assigned(many, alike=alike).values())
    assert drawn.count("test") / len(drawn) == pytest.approx(0.3, abs=0.06)
    assert drawn.count("val") / len(drawn) == pytest.approx(0.2, abs=0.05)


links = st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=25)


@settings(max_examples=1000)
@given(links, links, st.integers(20, 60), st.integers(0, 5))
@pytest.mark.unhurried
def test_what_is_alike_stays_together_and_nothing_leaves_the_test_set(
    known: list[tuple[int, int]], found_later: list[tuple[int, int]], count: int, seed: int
) -> None:
    """Whatever is found to be alike as a dataset grows from 20 groups."""
    few, many = ([sample(f"i{n}") for n in range(size)] for size in (20, count))
    early = [(f"i{a}", f"i{b}") for a, b in known if max(a, b) < 20]
    late = early + [(f"i{a}", f"i{b}") for a, b in found_later if max(a, b) < count]
    try:
        before = assigned(few, seed=seed, alike=early)
        after = assigned(many, seed=seed, alike=late, remembered=remember(before, seed))
    except DatasetError:  # a split would have no images
        return
    assert all(after[one] == after[other] for one, other in late)
    assert {name for name, split in before.items() if split == "test"} <= {
        name for name, split in after.items() if split == "test"
    }


def test_what_is_found_to_be_alike_goes_where_one_of_it_was_tested() -> None:
    alone = assigned(MANY)
    train, val, test = (next(one.id for one in MANY if alone[one.id] == split) for split in ("train", "val", "test"))
    assert assigned(MANY, alike=[(train, val)], remembered=remember(alone))[train] == "val"
    both = assigned(MANY, alike=[(train, val), (val, test)], remembered=remember(alone))
    assert (both[train], both[val], both[test]) == ("test", "test", "test")
    # the rest of their groups comes along, all else stays
    moved = {one.id for one in MANY if both[one.id] != alone[one.id]}
    assert {one.group for one in MANY if one.id in moved} == {one.group for one in MANY if one.id in (train, val)}


def test_images_that_all_look_alike_say_so() -> None:
    few = [sample(f"i{n}") for n in range(30)]
    with pytest.raises(DatasetError, match="30 of 30 groups look alike and stay together; set splits.near_duplicates: ignore"):
        assigned(few, alike=[("i0", f"i{n}") for n in range(1, 30)])


def test_the_shares_are_of_the_groups() -> None:
    many = [sample(f"i{n}") for n in range(4000)]
    drawn = list(assigned(many).values())
    # a binomial of 4000 with p = 0.3 has a standard deviation of 0.7 %
    assert drawn.count("test") / 4000 == pytest.approx(0.3, abs=0.03)
    assert drawn.count("val") / 4000 == pytest.approx(0.2, abs=0.03)


def test_another_seed_splits_otherwise() -> None:
    assert assigned(MANY, seed=1) != assigned(MANY, seed=2)


def test_given_lists_are_respected() -> None:
    listed = [sample("a", split="test"), sample("b", split="train"), sample("c", split="val")]
    assert assigned(listed) == {"a": "test", "b": "train", "c": "val"}


def test_a_sample_on_no_list_is_refused() -> None:
    with pytest.raises(DatasetError, match="1 of 4 samples are on no list, e.g. d"):
        assigned([sample("a", split="test"), sample("b", split="train"), sample("c", split="val"), sample("d")])


def test_a_split_without_images_is_refused_with_a_seed_that_helps() -> None:
    three = [sample(name, group=name) for name in "abc"]
    with pytest.raises(DatasetError, match=r"would have no images of 3; splits.seed: (\d+) would fill") as caught:
        assigned(three, seed=2)
    seed = int(str(caught.value).split("splits.seed: ")[1].split()[0])
    assert set(assigned(three, seed=seed).values()) == {"train", "val", "test"}


def test_two_groups_cannot_fill_three_splits() -> None:
    with pytest.raises(DatasetError, match="only 2 groups"):
        assigned([sample(f"i{n}", group=f"g{n % 2}") for n in range(50)])


def test_a_missing_list_is_refused_where_lists_are_asked_for() -> None:
    with pytest.raises(
        DatasetError, match="the split val would have no images .*; add a list for it, or set splits.method: auto"
    ):
        assigned([sample("a", split="test"), sample("b", split="train")], method="given")
    with pytest.raises(DatasetError, match="the split val would have no images .* what is drawn from training does not fill it"):
        assigned([sample("a", split="test"), sample("b", split="train")])


def published(n: int) -> Split:
    return "val" if n % 4 == 0 else "train"


def test_without_a_test_list_that_of_validation_is_tested() -> None:
    """As VOC, COCO, Cityscapes and ADE20K are published; scenes of five, each on one side."""
    samples = [sample(f"i{n}", split=published(n // 5), group=f"g{n // 5}") for n in range(400)]
    found = assigned(samples)
    assert {one.id for one in samples if one.split == "val"} == {name for name, split in found.items() if split == "test"}
    drawn = [found[one.id] for one in samples if one.split == "train"]
    assert 0.08 < drawn.count("val") / len(drawn) < 0.35  # a fifth of sixty scenes
    assert all(found[f"i{n}"] == found[f"i{n // 5 * 5}"] for n in range(400))


def test_without_a_validation_list_validation_is_drawn_from_training() -> None:
    lists: tuple[Split, Split] = ("test", "train")
    found = assigned([sample(f"i{n}", split=lists[n % 4 > 0]) for n in range(200)])
    assert all((found[f"i{n}"] == "test") == (n % 4 == 0) for n in range(200))
    assert 15 < list(found.values()).count("val") < 50


def test_groups_by_pattern() -> None:
    found = splits.groups_of([sample("s1_001"), sample("s1_002"), sample("s2_001")], r"^([^_]+)_")
    assert found == {"s1_001": "s1", "s1_002": "s1", "s2_001": "s2"}


def test_a_pattern_that_does_not_match_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"splits.group: '\(x\)' does not match 1 ids, e.g. 's1_001'"):
        splits.groups_of([sample("s1_001")], "(x)")
    with pytest.raises(ParamsError, match="does not match 1 ids"):  # its group does not, though the rest does
        splits.groups_of([sample("s1_001")], "^(?:(x)_)?")


def test_classes_that_a_split_lacks_are_named() -> None:
    found: dict[str, Split] = {"a": "train", "b": "train", "c": "val", "d": "test"}
    shown = {"a": [0, 1], "b": [0, 2], "c": [0, 1], "d": [0, 2, 3]}
    assert splits.lacking(found, shown) == {1: ["test"], 2: ["val"], 3: ["train", "val"]}


def test_every_class_is_spread_over_the_splits_and_each_image_has_its_chance() -> None:
    """Three hundred images, of which ten show a second class and five a third."""
    samples = [sample(f"i{n}") for n in range(300)]
    shown = {one.id: [0, *([1] if n < 10 else []), *([2] if 5 <= n < 10 else [])] for n, one in enumerate(samples)}
    tested: Counter[str] = Counter()
    for seed in range(200):
        found = assigned(samples, seed=seed, shown=shown)
        for index, many, val, test in ((1, 10, 0.2, 0.3), (2, 5, 0.2, 0.3), (0, 300, 0.2, 0.3)):
            counts = Counter(found[one.id] for one in samples if index in shown[one.id])
            assert abs(counts["test"] - test * many) < 3 and abs(counts["val"] - val * many) < 3, (seed, index, counts)
        tested.update(name for name, split in found.items() if split == "test")
    # of 200 draws with a chance of 0.3, within five deviations of 6.5
    assert all(60 - 33 < tested[one.id] < 60 + 33 for one in samples)


def test_what_is_new_is_spread_and_what_was_there_stays() -> None:
    first = [sample(f"i{n}") for n in range(40)]
    before = assigned(first)
    more = [*first, *(sample(f"n{n}") for n in range(60))]
    shown = {one.id: [1] if one.id.startswith("n") and int(one.id[1:]) < 12 else [0] for one in more}
    after = assigned(more, remembered=remember(before), shown=shown)
    assert {name: after[name] for name in before} == before
    counts = Counter(after[name] for name in after if shown[name] == [1])
    assert abs(counts["test"] - 3.6) < 2 and abs(counts["val"] - 2.4) < 2


def test_one_list_of_some_samples_is_kept_to_and_the_rest_is_drawn() -> None:
    listed = [sample(f"t{n}", split="test") for n in range(20)]
    found = assigned([*listed, *(sample(f"i{n}") for n in range(80))])
    assert {found[one.id] for one in listed} == {"test"}
    assert {split for name, split in found.items() if name.startswith("i")} == {"train", "val", "test"}
    # a list of all tells nothing apart
    assert set(assigned([sample(f"i{n}", split="train") for n in range(80)]).values()) == {"train", "val", "test"}


def test_groups_with_the_same_picture_are_one_scene() -> None:
    groups = {"a": "drive 2", "b": "drive 2", "c": "drive 1", "d": "drive 3", "e": "e"}
    # c looks like b, and d like c
    found = splits.scenes(groups, [("b", "c"), ("c", "d")])
    assert found == {"a": "drive 1", "b": "drive 1", "c": "drive 1", "d": "drive 1", "e": "e"}


def test_the_vault_takes_whole_test_scenes_and_keeps_them() -> None:
    names = [f"{number:03}" for number in range(400)]
    assigned: dict[str, Split] = {name: "test" if number % 2 else "train" for number, name in enumerate(names)}
    scenes = {name: f"scene {number // 4}" for number, name in enumerate(names)}
    images = {name: image(name) for name in names}
    parts = splits.with_vault(assigned, scenes, 0.3, seed=1, images=images)
    kept = {name for name, part in parts.items() if part == "vault"}
    assert {name: part for name, part in parts.items() if name not in kept} == {
        n: s for n, s in assigned.items() if n not in kept
    }
    assert {assigned[name] for name in kept} == {"test"}
    inside = {scenes[name] for name in kept}
    assert kept == {name for name in names if scenes[name] in inside and assigned[name] == "test"}
    assert 20 <= len(inside) <= 40  # of a hundred scenes
    more = splits.with_vault(dict(list(assigned.items())[:320]), scenes, 0.3, seed=1, images=images)
    assert {name for name, part in more.items() if part == "vault"} == kept & more.keys()  # what comes later moves nothing
    remembered = Remembered(Splitting("group", None, 0.2, 0.3, 0, "together", vault=0.3)).with_samples(parts, images)
    for share, before in ((0.5, None), (0.5, remembered)):  # another share is drawn anew
        larger = splits.with_vault(assigned, scenes, share, seed=1, images=images, remembered=before)
        assert kept < {name for name, part in larger.items() if part == "vault"}
    renamed = {name: f"another {scene}" for name, scene in scenes.items()}
    assert splits.with_vault(assigned, renamed, 0.3, seed=1, images=images, remembered=remembered) == parts
    # a scene of the vault and one that was tested openly turn out to be one: it is no secret any more
    secret = min(scenes[name] for name in kept)
    opened = next(scenes[name] for name in names if assigned[name] == "test" and name not in kept)
    joined = {name: opened if scene == secret else scene for name, scene in scenes.items()}
    after = splits.with_vault(assigned, joined, 0.3, seed=1, images=images, remembered=remembered)
    assert kept - {name for name, part in after.items() if part == "vault"} == {name for name in kept if scenes[name] == secret}


@pytest.mark.parametrize(("share", "said"), [(0.001, "none of them"), (0.999, "all of them")])
def test_a_vault_of_nothing_or_of_everything_is_refused(share: float, said: str) -> None:
    scenes = {name: name for name in ("a", "b", "c")}
    parts = splits.with_vault(dict.fromkeys(scenes, "test"), scenes, share, seed=0, images={name: image(name) for name in scenes})
    with pytest.raises(
        DatasetError, match=f"splits.vault: {share:g} of 3 test scenes is {said}; label more scenes, or change it"
    ):
        splits.refuse_vault_of_all_or_nothing(parts, scenes, share)
