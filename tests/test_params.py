"""params.yaml: what is wrong is named with its path, its value, what is allowed and the nearest right key."""

from pathlib import Path

import pytest

from segmodels import params
from segmodels.errors import ParamsError
from tests.conftest import PARAMS, REPOSITORY


def problems(path: Path, old: str, new: str) -> str:
    assert old in PARAMS
    path.write_text(PARAMS.replace(old, new, 1))
    with pytest.raises(ParamsError) as caught:
        params.read(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("project: tiny", "projekt: tiny", ["projekt: unknown key, did you mean 'project'?", "project: is missing"]),
        ("encoder: resnet18", "encodr: resnet18", ["candidates.unet.encodr: unknown key, did you mean 'encoder'?"]),
        ("architecture: unet", "architecture: unett", ["candidates.unet.architecture", "did you mean 'unet'?", "pspnet"]),
        ("decoder_channels: [16", "decoder_chanels: [16", ["candidates.unet.architecture", "did you mean 'decoder_channels'?"]),
        ("name: poly", "name: poly, powr: 1", ["candidates.unet.schedule", "did you mean 'power'?"]),
        (
            "name: poly",
            "name: poly, power: high",
            ["candidates.unet.schedule: schedules.poly: power is 'high'; expected a number"],
        ),
        (
            "decoder_channels: [16",
            "decoder_channels: wide, depth: [16",
            ["architectures.unet: decoder_channels is 'wide'; expected a list, each a whole number or null"],
        ),
        (
            "project: tiny",
            "gate: {false_promotions_per_year: 400}\nproject: tiny",
            ["gate", "false_promotions_per_year is 400 in 365 gates a year", "give at most 182.5"],
        ),
        ("augmentation: light", "augmentation: ligth", ["candidates.unet.augmentation", "did you mean 'light'?"]),
        ("recipe: light", "recipe: light, flop: 1", ["augmentations.light", "did you mean 'flip'?"]),
        (
            "recipe: light",
            "recipe: light, flip: often",
            ["augmentations.light: augmentations.light: flip is 'often'; expected a number"],
        ),
        ("light: {recipe: light}", "light: {recipe: light, copies: -1}", ["augmentations.light.copies: is -1"]),
        ("epochs: 2", "epochs: 0", ["training.epochs: is 0; input should be 'auto' or greater than or equal to 1"]),
        ("epochs: 2", "epochs: many", ["training.epochs: is 'many'"]),
        ("batch_size: 4", "batchsize: 4", ["training.batchsize: unknown key, did you mean 'batch_size'?", "allowed here"]),
        ("augmentation: light\n", "augmentation: light\n    training: {epoch: 3}\n", ["candidates.unet.training.epoch"]),
        ("augmentation: light\n", "augmentation: light\n    training: {size_px: [64, 64]}\n", ["share training.size_px"]),
        ("project: tiny", "project: ../tiny", ["project: is '../tiny'"]),
        ("splits: {method: auto}", "splits: {val: 0.6, test: 0.5}", ["splits: val 0.6 + test 0.5"]),
        ("splits: {method: auto}", "splits: {group: '('}", ["splits.group: '(' is no regular expression"]),
        ("splits: {method: auto}", "splits: {group: ^s}", ["splits.group: '^s' has no group in parentheses"]),
        ("dataset: {format: auto}", "dataset: {format: camvit}", ["dataset.format", "did you mean 'camvid'?"]),
        ("classes: auto", "classes: [a, a]", ["classes: a name or an id stands twice"]),
        ("classes: auto", "classes: [{name: a, id: -1}]", ["classes.0.id: is -1; input should be greater than or equal to 0"]),
        (
            "classes: auto",
            "classes: [{name: a, idd: 1}]",
            ["classes.0.idd: unknown key, did you mean 'id'?", "name, id, color, ignore"],
        ),
        ("loss: {name: cross_entropy}", "loss: [{weight: 2}]", ["candidates.unet.loss.0.name: is missing; add it"]),
        ("classes: auto", "classes: 5", ["1 wrong", "classes: is 5; input should be 'auto' or a valid list"]),
        (
            "size_px: [32, 64]",
            "size_px: atuo",
            ["1 wrong", "training.size_px: is 'atuo'; input should be 'auto' or a valid tuple"],
        ),
        ("size_px: [32, 64]", "size_px: [128]", ["1 wrong", "training.size_px.1: is missing; add it"]),
        (
            "{name: cross_entropy}",
            "{name: focal, class_weights: balanced}",
            ["loss.class_weights: is 'balanced'; expected auto or"],
        ),
        ("classes: auto\n", "", ["classes: is missing; add it"]),
        ("seed: 0, ", "", ["training.seed: is missing; add it"]),
        ("  pspnet:\n", "  unet:\n", ["'unet' stands twice"]),
    ],
)
def test_a_mistake_is_named(params_file: Path, old: str, new: str, expected: list[str]) -> None:
    text = problems(params_file, old, new)
    for part in expected:
        assert part in text


def test_all_mistakes_are_listed_at_once(params_file: Path) -> None:
    params_file.write_text(PARAMS.replace("epochs: 2", "epochs: 0").replace("batch_size: 4", "batch_size: -1"))
    with pytest.raises(ParamsError, match="2 wrong"):
        params.read(params_file)


def test_a_candidate_changes_the_common_training(params_file: Path) -> None:
    params_file.write_text(PARAMS.replace("augmentation: light\n", "augmentation: light\n    training: {epochs: 7}\n", 1))
    read = params.read(params_file)
    assert read.training_of("unet").epochs == 7
    assert read.training_of("pspnet").epochs == 2
    assert read.training_of("unet").batch_size == 4


def test_candidates_may_share_what_they_have_in_common(params_file: Path) -> None:
    head, _, rest = PARAMS.partition("  pspnet:\n")
    common = head.replace("  unet:\n", "  unet: &common\n")
    params_file.write_text(f"{common}  other: {{<<: *common, encoder: resnet34}}\ntraining:{rest.partition('training:')[2]}")
    unet, other = params.read(params_file).candidates.values()
    assert other == unet.model_copy(update={"encoder": "resnet34"})


def test_candidates_that_differ_by_their_seed_alone_are_known(params_file: Path) -> None:
    head, _, rest = PARAMS.partition("  pspnet:\n")
    again = [f"  seed{n}: {{<<: *common, training: {{seed: {n}}}}}\n" for n in (1, 2)]
    other = "  wide: {<<: *common, options: {decoder_channels: [32, 32]}, training: {seed: 3}}\n"
    common = head.replace("  unet:\n", "  unet: &common\n") + "".join(again) + other
    params_file.write_text(f"{common}  pspnet:\n{rest}")
    assert params.read(params_file).same_but_for_the_seed() == [["unet", "seed1", "seed2"]]


def test_what_is_merged_deep_inside_may_be_merged_again(params_file: Path) -> None:
    first, _, second = PARAMS.partition("    augmentation: light\n  pspnet:")
    text = f"{first}    augmentation: light\n    training: &own {{<<: *base, epochs: 9}}\n  pspnet:{second}"
    head, _, training = text.rpartition("training: ")
    params_file.write_text(
        f"{head}training: {{<<: *own, batch_size: 8}}\n".replace(
            "\nproject: tiny", f"\ntraining_of_old: &base {training.strip()}\nproject: tiny"
        )
    )
    with pytest.raises(ParamsError, match="1 wrong\n  - training_of_old: unknown key"):  # and nothing that "stands twice"
        params.read(params_file)


def test_listed_classes_have_their_position_as_id(params_file: Path) -> None:
    listed = "classes: [sky, {name: road, id: 7, color: [1, 2, 3]}, {name: void, id: 11, ignore: true}]"
    params_file.write_text(PARAMS.replace("classes: auto", listed))
    sky, road, void = params.read(params_file).listed_classes() or []
    assert (sky.name, sky.value) == ("sky", 0)
    assert (road.value, road.color, road.ignore) == (7, (1, 2, 3), False)
    assert (void.value, void.ignore) == (11, True)


def test_the_resolved_params_read_back_the_same(params_file: Path, tmp_path: Path) -> None:
    read = params.read(params_file)
    again = tmp_path / "again.yaml"
    again.write_text(params.to_yaml(read))
    assert params.read(again) == read


def test_the_projects_own_params_are_right() -> None:
    assert set(params.read(REPOSITORY / "params.yaml").candidates) == {"unet", "pspnet"}


def test_crops_around_rare_classes_cannot_be_cut_from_copies(params_file: Path) -> None:
    params_file.write_text(
        PARAMS.replace("recipe: light}", "recipe: light, copies: 2}").replace("epochs: 2", "epochs: 2, balanced_crops: 0.5")
    )
    with pytest.raises(
        ParamsError, match="candidates.unet.training.balanced_crops: crops are drawn as they are wanted, but"
    ) as told:
        params.read(params_file)
    assert "augmentations.light.copies is 2; set one of the two to 0" in str(told.value)
