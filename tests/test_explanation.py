"""What `segmodels explain` says: why stages are due, and how long all of them take."""

from flows import explanation, reasons
from flows.stage_graph import Stage


def stage(name: str, *upstream: str, why: tuple[str, ...] = ()) -> Stage:
    return Stage(name=name, upstream=frozenset(upstream), outs=(), why=why)


def test_dvcs_account_becomes_phrases() -> None:
    account = [
        {"changed deps": {"data/raw": "modified", "params.yaml": {"training.seed": "modified", "training.epochs": "new"}}},
        {"changed outs": {"bundles/unet": "deleted", "reports/unet/training.json": "not in cache"}},
        "changed command",
    ]
    assert reasons.told(account) == (
        "data/raw has changed",
        "params.yaml: training.seed has changed",
        "params.yaml: training.epochs is new",
        "bundles/unet is gone",
        "reports/unet/training.json is not in DVC's cache",
        "its command has changed",
    )


def test_the_reason_of_a_stage_is_short() -> None:
    assert explanation.reason(stage("train@a", why=("a", "b", "c", "d", "e"))) == "a; b; c; and 2 more"
    assert explanation.reason(stage("compare", "evaluate@b", "evaluate@a")) == "follows from evaluate@a, evaluate@b"


def test_together_stages_take_as_long_as_their_slots_let_them() -> None:
    stages = [
        stage("prepare"),
        *(stage(f"train@{n}", "prepare") for n in "abc"),
        stage("compare", *(f"train@{n}" for n in "abc")),
    ]
    seconds: dict[str, float | None] = {"prepare": 10.0, "train@a": 100.0, "train@b": 60.0, "train@c": 50.0, "compare": 5.0}
    assert explanation.together(stages, seconds, 1) == 225.0
    # prepare until 10; a until 110 beside b until 70 and c until 120; compare until 125
    assert explanation.together(stages, seconds, 2) == 125.0
    assert explanation.together(stages, seconds | {"train@c": None}, 2) is None
    assert explanation.together([], {}, 1) == 0.0
