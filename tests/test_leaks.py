"""What stands on two sides of a split is found: scenes, copies, and copies that were saved again."""

import io
import json
from pathlib import Path
from random import Random

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segmodels import duplicates, images, leaks, placement, shapes, splits
from segmodels.annotations import MaskFile
from segmodels.atomic import write_json
from segmodels.dataset import open_dataset
from segmodels.duplicates import NEAR, Fingerprint
from segmodels.errors import DatasetError
from segmodels.leaks import Leak, Placed
from segmodels.remembered import Remembered, Splitting
from segmodels.samples import Sample, Split
from segmodels.store import Store
from tests.conftest import MakeDataset, prepared_at


def drawing(seed: int) -> np.ndarray:
    return shapes.draw(size_px=(96, 128), seed=seed).image


def saved_again(image: np.ndarray, *, quality: int = 60, brighter: float = 1.0, half: bool = False) -> np.ndarray:
    changed = Image.fromarray(np.clip(image * brighter, 0, 255).astype(np.uint8))
    if half:
        changed = changed.resize((changed.width // 2, changed.height // 2), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    changed.save(file, format="JPEG", quality=quality)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("how", [{"quality": 30}, {"brighter": 1.1}, {"half": True}])
def test_pictures_that_were_saved_again_are_found_and_others_are_not(how: dict[str, float]) -> None:
    drawings = [drawing(seed) for seed in range(30)]
    prints = [Fingerprint.of(image) for image in [*drawings, *(saved_again(image, **how) for image in drawings)]]  # type: ignore[arg-type]
    assert duplicates.links(prints, looks=False) == []
    told = {(min(pair), max(pair)) for pair in duplicates.links(prints, looks=True)}
    assert len(told & {(position, position + 30) for position in range(30)}) >= 29
    assert len(told - {(position, position + 30) for position in range(30)}) <= 2


def test_a_copy_is_the_same_whatever_its_name_and_a_flat_picture_looks_like_none() -> None:
    flat = [np.full((40, 40, 3), value, np.uint8) for value in (3, 4)]
    prints = [Fingerprint.of(image) for image in (drawing(0), drawing(0), *flat, flat[0])]
    for looks in (False, True):
        assert duplicates.links(prints, looks=looks) == [(0, 1), (2, 4)]


def looking(random: Random, count: int) -> list[Fingerprint]:
    """Images some of which are others once more, or look like them: in one bit more or less than what counts as near."""
    found: list[Fingerprint] = []
    for number in range(count):
        look = random.getrandbits(64)
        if found and random.random() < 0.7:
            other = random.choice(found)
            flipped = random.sample(range(64), random.choice([0, NEAR, NEAR + 1]))
            look = (other.look or 0) ^ sum(1 << bit for bit in flipped)
            if random.random() < 0.3:
                found.append(other)
                continue
        found.append(Fingerprint(f"p{number}", look if random.random() < 0.9 else None))
    return found


def how_alike(one: Fingerprint, other: Fingerprint) -> int | None:
    """-1 for the same pixels, else the bits in which two that are near differ."""
    if one.pixels == other.pixels:
        return -1
    if one.look is None or other.look is None or (one.look ^ other.look).bit_count() > NEAR:
        return None
    return (one.look ^ other.look).bit_count()


@given(st.randoms(use_true_random=False), st.integers(0, 40), st.booleans())
@pytest.mark.unhurried
def test_links_join_all_that_are_alike_and_no_others(random: Random, count: int, looks: bool) -> None:
    prints = looking(random, count)
    expected: nx.Graph[int] = nx.Graph()
    expected.add_nodes_from(range(count))
    for second in range(count):
        for first in range(second):
            alike = how_alike(prints[first], prints[second])
            if alike == -1 or (looks and alike is not None):
                expected.add_edge(first, second)
    found = nx.Graph(duplicates.links(prints, looks=looks))
    found.add_nodes_from(range(count))
    as_sets = [sorted(map(sorted, nx.connected_components(graph))) for graph in (expected, found)]
    assert as_sets[0] == as_sets[1]
    assert found.number_of_edges() == count - len(as_sets[0])  # no more than are needed


@given(st.randoms(use_true_random=False), st.integers(0, 40))
@pytest.mark.unhurried
def test_every_image_is_told_with_what_is_most_like_it_on_every_side_before(random: Random, count: int) -> None:
    prints = looking(random, count)
    sides, groups = [random.randrange(3) for _ in prints], [random.randrange(12) for _ in prints]
    expected: list[tuple[int | None, int, bool]] = []
    for position in range(count):
        for side in range(sides[position]):
            others = [
                (how_alike(prints[position], prints[other]), other)
                for other in range(count)
                if sides[other] == side and groups[other] != groups[position]
            ]
            bits, other = min(((bits, other) for bits, other in others if bits is not None), default=(None, None))
            if bits is not None:
                expected.append((other, position, bits == -1))
    assert list(duplicates.counterparts(prints, sides, groups)) == expected


@pytest.mark.unhurried
def test_a_camera_that_never_moves_costs_no_more_than_its_images() -> None:
    """Every two of 3,000 images look the same: 4.5 million pairs."""
    prints = [Fingerprint(f"p{number}", 1 << number % 6) for number in range(3000)]
    assert len(duplicates.links(prints, looks=True)) == 2999
    found = leaks.find([Placed(str(n), ("train", "test")[n % 2], None, one) for n, one in enumerate(prints)])
    assert len(found) == 1500 and found[0].what == "0 and 1"


def placed(name: str, split: Split, group: str | None, image: np.ndarray) -> Placed:
    return Placed(name, split, group, Fingerprint.of(image))


def test_scenes_and_images_on_two_sides_are_leaks() -> None:
    one, two = drawing(1), drawing(2)
    found = leaks.find(
        [
            placed("a", "train", "street", drawing(3)),
            placed("b", "train", "street", drawing(4)),
            placed("c", "test", "street", drawing(5)),
            placed("d", "test", "yard", one),
            placed("e", "val", "field", one),
            placed("f", "train", None, two),
            placed("g", "test", None, saved_again(two)),
            placed("h", "train", "hill", drawing(6)),
            placed("i", "train", "hill", drawing(6)),  # twice on one side harms nobody
        ]
    )
    assert found == [
        Leak("group", ("train", "test"), (2, 1), "street"),
        Leak("same", ("val", "test"), (1, 1), "e and d"),
        Leak("alike", ("train", "test"), (1, 1), "f and g"),
    ]
    assert str(found[0]) == "group street is in train (2 images) and in test (1)"
    assert str(found[1]) == "e and d: the same image in val and test"


def drawn_again(root: Path) -> Path:
    """Twenty drawings of scenes of their own, and each once more: as it is, or saved again."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for seed in range(20):
        made = shapes.draw(size_px=(96, 128), seed=seed)
        again = made.image if seed % 2 else saved_again(made.image)
        for name, image in ((f"first_{seed}", made.image), (f"second_{seed}", again)):
            Image.fromarray(image).save(root / "images" / f"{name}.png")
            images.write_mask(root / "masks" / f"{name}.png", made.mask, shapes.CLASSES)
    write_json(root / "classes.json", {"classes": [{"id": one.value, "name": one.name} for one in shapes.CLASSES]})
    return root


@pytest.mark.unhurried
def test_copies_stay_on_one_side_where_splits_are_drawn(tmp_path: Path) -> None:
    dataset = open_dataset(drawn_again(tmp_path / "data"))
    told: list[str] = []
    prepared_at(dataset, tmp_path / "store", test=0.3, notice=told.append)
    split_of = Store(tmp_path / "store").manifest.set_index("id")["split"]
    assert all(split_of[f"first_{seed}"] == split_of[f"second_{seed}"] for seed in range(20))
    assert (told, json.loads((tmp_path / "store" / "leaks.json").read_text())) == ([], [])


@pytest.mark.unhurried
def test_copies_on_two_sides_of_given_lists_are_told_or_refused(tmp_path: Path) -> None:
    root = drawn_again(tmp_path / "data")
    rows = [f"{order}_{seed},{split}" for order, split in (("first", "train"), ("second", "test")) for seed in range(20)]
    rows[0] = "first_0,val"
    (root / "samples.csv").write_text("\n".join(["id,split", *rows]))
    told: list[str] = []
    prepared_at(open_dataset(root), tmp_path / "store", method="given", notice=told.append)
    assert "leak: first_1 and second_1: the same image in train and test" in told
    assert sum("images that look the same" in one for one in told) == 2  # ten are the same; twelve are told
    assert told[-1].startswith("the splits leak in 20 places, scores come out too high; splits.method: group draws")
    kept = json.loads((tmp_path / "store" / "leaks.json").read_text())
    assert {"kind": "alike", "splits": ["train", "test"], "num_images": [1, 1], "what": "first_2 and second_2"} in kept
    assert len(kept) == 20
    with pytest.raises(DatasetError, match=r"the splits leak in 20 places, and splits.on_leak is `error`"):
        prepared_at(open_dataset(root), tmp_path / "refused", method="given", on_leak="error")
    assert not (tmp_path / "refused").exists()


@pytest.mark.unhurried
def test_splits_that_few_large_groups_make_unlike_what_was_asked_for_are_said(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """Forty images, of which thirty are of one scene."""
    masks = {f"i{n:02d}": np.tile([0, 1], (12, 8)) for n in range(40)}
    pictures = {name: np.random.default_rng(n).integers(0, 256, (12, 16, 3), np.uint8) for n, name in enumerate(masks)}
    root = make_dataset(masks, images=pictures)
    told: list[str] = []
    prepared_at(open_dataset(root), tmp_path / "alone", notice=told.append)
    assert not [one for one in told if "stand together" in one]
    (root / "samples.csv").write_text("id,group\n" + "".join(f"i{n:02d},long\n" for n in range(30)))
    prepared_at(open_dataset(root), tmp_path / "store", notice=told.append)
    [said] = [one for one in told if "stand together" in one]
    found = Store(tmp_path / "store").manifest["split"].value_counts(normalize=True)
    assert f"test has {found['test']:.0%} of the images, not 35%" in said
    assert max(found) >= 0.75


@pytest.mark.unhurried
def test_a_class_that_a_split_lacks_is_said_with_a_seed_that_helps(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """Forty images, four of which show the third class."""
    masks = {f"i{n:02d}": np.array([[0, 1, 2 if n % 10 == 0 else 0]]) for n in range(40)}
    images = {name: np.full((1, 3, 3), 6 * n, np.uint8) for n, name in enumerate(masks)}
    root = make_dataset(masks, images=images, classes=[{"id": n, "name": name} for n, name in enumerate("abc")])

    def prepare_with(seed: int) -> list[str]:
        lines: list[str] = []
        prepared_at(open_dataset(root), tmp_path / str(seed), val=0.3, test=0.3, seed=seed, notice=lines.append)
        return [line for line in lines if "c is in no image" in line or "splits.seed" in line]

    told = {seed: prepare_with(seed) for seed in range(8)}
    lacking = next(lines for lines in told.values() if lines)
    assert lacking[0].startswith("c is in no image of ") and lacking[0].endswith(
        (": it is not scored", "it is not learned", "trained", "nor scored")
    )
    better = int(lacking[1].removeprefix("splits.seed: ").split()[0])
    assert prepare_with(better) == []


POOL = [drawing(n) for n in range(8)]
PRINTS = [Fingerprint.of(one) for one in [*POOL, *(saved_again(image, quality=80) for image in POOL)]]
"""Eight pictures, and each once more, saved again."""


PICTURES = st.lists(
    st.tuples(st.integers(0, len(PRINTS) - 1), st.sampled_from([None, "a", "b", "c", "d", "e"])), min_size=3, max_size=16
)


def drawn_splits(
    pictures: list[tuple[int, str | None]], called: str, seed: int, before: Remembered | None
) -> tuple[dict[str, Split], Remembered]:
    """Where pictures of scenes are put, and what is then remembered; there are no leaks."""
    samples = [
        Sample(f"{called}{number}", Path(f"{number}.png"), MaskFile(Path("m.png")), group=group)
        for number, (_, group) in enumerate(pictures)
    ]
    prints = {one.id: PRINTS[picture] for one, (picture, _) in zip(samples, pictures, strict=True)}
    found = placement.place(
        samples,
        prints,
        shown={one.id: [number % 3] for number, one in enumerate(samples)},
        groups=splits.groups_of(samples, None),
        has_groups=False,
        method="group",
        val=0.3,
        test=0.3,
        seed=seed,
        near_duplicates="together",
        remembered=before,
        notice=lambda text: pytest.fail(text),
    )
    assert found.leaks == []
    known = before or Remembered(Splitting("group", None, 0.3, 0.3, seed, "together"))
    return found.splits, known.with_samples(found.splits, {name: one.pixels for name, one in prints.items()})


@pytest.mark.slow
@settings(max_examples=10_000)
@given(PICTURES, PICTURES, st.sampled_from(["i", "renamed-"]), st.integers(0, 20))
def test_drawn_splits_never_leak_and_nothing_leaves_the_test_set(
    pictures: list[tuple[int, str | None]], more: list[tuple[int, str | None]], called: str, seed: int
) -> None:
    """Any pictures under any names, copies and look-alikes among them, in any scenes; then more, and all under other names."""
    try:
        first, memory = drawn_splits(pictures, "i", seed, None)
        then, _ = drawn_splits([*pictures, *more], called, seed, memory)
    except DatasetError:  # a split would have no images: all of these few were found to stand together
        return
    for number in range(len(pictures)):
        assert first[f"i{number}"] != "test" or then[f"{called}{number}"] == "test"
