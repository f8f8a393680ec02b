"""Losses: what all of them owe, values worked by hand, and other implementations where those are right."""

import math
from typing import Any, get_args

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from segmodels import catalog, objective
from segmodels.errors import ParamsError
from segmodels.losses import _softmax
from segmodels.objective import Term, build
from segmodels.samples import IGNORE_INDEX, Task

TASKS: tuple[Task, ...] = get_args(Task)
EVERY = [(name, task) for name in catalog.names("losses") for task in TASKS]


def truth(task: Task, *, size: int = 12) -> Tensor:
    """Two images; quarters of the plane are the classes 0 to 3, or 0 and 1; of multilabel four overlapping halves and quarters."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    below, right = rows >= size // 2, columns >= size // 2
    if task == "multilabel":
        return torch.stack([below, right, below & right, below | right]).long().repeat(2, 1, 1, 1)
    quarters = 2 * below.long() + right.long()
    return (quarters if task == "multiclass" else quarters % 2).repeat(2, 1, 1)


def logits_for(target: Tensor, task: Task, *, sure: float) -> Tensor:
    """Logits that say the target, `sure` above the rest; below 0 they say its opposite."""
    if task == "multiclass":
        return F.one_hot(target, 4).permute(0, 3, 1, 2).float() * sure
    known = target if task == "multilabel" else target[:, None]
    return (2 * known.float() - 1) * sure


def loss_of(name: str, task: Task, options: dict[str, Any] | None = None) -> objective.Loss:
    """One loss by itself."""
    return build(task, [Term(name, options or {})])


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_it_falls_with_the_error_to_nothing(name: str, task: Task) -> None:
    loss, target = loss_of(name, task), truth(task)
    values = [float(loss(logits_for(target, task, sure=sure), target)) for sure in (0, 0.4, 0.8, 20)]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[1] > values[2] > values[3]
    assert values[3] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_of_a_network_in_bf16_it_is_computed_in_float32(name: str, task: Task) -> None:
    loss, target = loss_of(name, task), truth(task)
    rounded = (logits_for(target, task, sure=0.5) + 0.1 * torch.randn(2, 1 if task == "binary" else 4, 12, 12)).bfloat16()

    class Network(torch.nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            return rounded

    value = objective.of(Network(), loss, torch.zeros(2, 3, 12, 12), target)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(rounded.float(), target))


def test_a_class_without_weight_has_no_say_smoothed_or_not() -> None:
    target = torch.zeros(1, 2, 2, dtype=torch.int64)
    for smoothing in (0.0, 0.1):
        loss = loss_of("cross_entropy", "multiclass", {"class_weights": [0, 1], "label_smoothing": smoothing})
        assert loss(torch.randn(1, 2, 2, 2), target) == 0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cross_entropy", {"class_weights": [-1, 1]}),
        ("cross_entropy", {"class_weights": [0, 0]}),
        ("cross_entropy", {"label_smoothing": 1.5}),
        ("focal", {"gamma": -1}),
        ("focal", {"class_weights": [1, math.inf]}),
        ("tversky", {"alpha": 0, "beta": 0}),
        ("tversky", {"gamma": 0}),
    ],
)
def test_options_with_which_nothing_is_learned_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ParamsError, match=rf"losses.{name}: .*; expected"):
        loss_of(name, "multiclass", options)


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_void_has_no_say(name: str, task: Task) -> None:
    loss, target = loss_of(name, task), truth(task)
    logits = logits_for(target, task, sure=0.5)
    target[1], target[..., :4] = IGNORE_INDEX, IGNORE_INDEX
    wild = logits.clone()
    wild[1], wild[..., :4] = torch.randn(wild[1].shape) * 50, 50
    wild.requires_grad_()
    value = loss(wild, target)
    assert torch.allclose(value, loss(logits, target))
    value.backward()
    assert wild.grad is not None and torch.isfinite(wild.grad).all()
    assert (wild.grad[1] == 0).all() and (wild.grad[..., :4] == 0).all()
    assert wild.grad.any()


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_of_void_alone_it_is_a_finite_zero(name: str, task: Task) -> None:
    target = torch.full_like(truth(task), IGNORE_INDEX)
    logits = torch.randn(2, 1 if task == "binary" else 4, 12, 12, requires_grad=True)
    value = loss_of(name, task)(logits, target)
    value.backward()
    assert value == 0
    assert logits.grad is not None and (logits.grad == 0).all()


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_classes_that_the_batch_has_not_are_no_trouble(name: str, task: Task) -> None:
    target = torch.zeros_like(truth(task))
    logits = torch.randn(2, 1 if task == "binary" else 4, 12, 12, requires_grad=True)
    value = loss_of(name, task)(logits, target)
    value.backward()
    assert torch.isfinite(value) and value >= 0
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_one_image_and_logits_beyond_reason_are_no_trouble(name: str, task: Task) -> None:
    target = truth(task)[:1]
    logits = (logits_for(target, task, sure=-200.0)).requires_grad_()
    value = loss_of(name, task)(logits, target)
    value.backward()
    assert torch.isfinite(value)
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


# two pixels in a row, two classes: probabilities 1/4, 3/4 and 1/2, 1/2
PAIR = torch.tensor([[[[0.0, 0.0]], [[math.log(3), 0.0]]]])
# one answer: probabilities 3/4 and 1/2
SINGLE = torch.tensor([[[[math.log(3), 0.0]]]])


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        # truth 1 and 0: the mean of -log(3/4) and -log(1/2)
        ("cross_entropy", {}, (math.log(4 / 3) + math.log(2)) / 2),
        # weights 3 for class 1, 1 for class 0
        ("cross_entropy", {"class_weights": [1, 3]}, (3 * math.log(4 / 3) + math.log(2)) / 4),
        # half of the pixels: the one with the higher loss
        ("cross_entropy", {"hard_share": 0.5}, math.log(2)),
        # 0.1 of each target spread over both classes: 0.95 and 0.05
        ("cross_entropy", {"label_smoothing": 0.1}, (0.95 * math.log(4 / 3) + 0.05 * math.log(4) + math.log(2)) / 2),
        ("focal", {"gamma": 2}, (math.log(4 / 3) / 16 + math.log(2) / 4) / 2),
        ("focal", {"gamma": 0, "class_weights": [1, 3]}, (3 * math.log(4 / 3) + math.log(2)) / 2),
        # overlap, probability, truth of class 0: 1/2, 3/4, 1; of class 1: 3/4, 5/4, 1
        ("dice", {}, 1 - (1 / 1.75 + 1.5 / 2.25) / 2),
        ("dice", {"smooth": 1}, 1 - (2 / 2.75 + 2.5 / 3.25) / 2),
        ("jaccard", {}, 1 - (0.5 / 1.25 + 0.75 / 1.5) / 2),
        # found and missed: 1/4 and 1/2; 1/2 and 1/4
        ("tversky", {"alpha": 0.2, "beta": 0.8}, 1 - (0.5 / (0.5 + 0.05 + 0.4) + 0.75 / (0.75 + 0.1 + 0.2)) / 2),
        # errors of class 0: 1/4 where false, 1/2 where true. Sorted 1/2, 1/4: the first alone leaves an IoU of 0, so
        # the second adds nothing. Of class 1: 1/2 where false, 1/4 where true: IoU 1 -> 1/2 -> 0
        ("lovasz", {}, (0.5 + (0.5 * 0.5 + 0.25 * 0.5)) / 2),
    ],
)
def test_multiclass_by_hand(name: str, options: dict[str, object], expected: float) -> None:
    loss = loss_of(name, "multiclass", options)
    assert float(loss(PAIR, torch.tensor([[[1, 0]]]))) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        # truth yes and no
        ("cross_entropy", {}, (math.log(4 / 3) + math.log(2)) / 2),
        ("cross_entropy", {"class_weights": [3]}, (3 * math.log(4 / 3) + math.log(2)) / 2),
        # 0.1 of each target spread over yes and no: 0.95 and 0.05
        ("cross_entropy", {"label_smoothing": 0.1}, (0.95 * math.log(4 / 3) + 0.05 * math.log(4) + math.log(2)) / 2),
        ("focal", {"gamma": 1}, (math.log(4 / 3) / 4 + math.log(2) / 2) / 2),
        ("focal", {"gamma": 1, "class_weights": [3]}, (3 * math.log(4 / 3) / 4 + math.log(2) / 2) / 2),
        # overlap 3/4, probability 5/4, truth 1
        ("dice", {}, 1 - 1.5 / 2.25),
        ("jaccard", {}, 1 - 0.75 / 1.5),
        ("tversky", {"alpha": 0.2, "beta": 0.8}, 1 - 0.75 / (0.75 + 0.1 + 0.2)),
        # hinge errors: 1 - log 3 below 0, so 0; and 1 + 0. The false one first: IoU 1 -> 1/2
        ("lovasz", {}, 0.5),
    ],
)
@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_binary_and_multilabel_by_hand(name: str, options: dict[str, object], expected: float, task: Task) -> None:
    loss = loss_of(name, task, options)
    target = torch.tensor([[[1, 0]]])
    assert float(loss(SINGLE, target if task == "binary" else target[:, None])) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "options", "multiclass", "sigmoid"),
    [
        # two pixels at probability one half, both of class 0, both "no"
        ("cross_entropy", {}, math.log(2), math.log(2)),
        ("focal", {"gamma": 2}, math.log(2) / 4, math.log(2) / 4),
        # class 0: overlap 1, probability 1, truth 2; class 1 has no truth and is left out, and so is a "yes" that nobody says
        ("dice", {}, 1 - 2 / 3, 0),
        ("jaccard", {}, 1 - 1 / 2, 0),
        ("tversky", {"alpha": 0.2, "beta": 0.8}, 1 - 1 / (1 + 0.8), 0),
        # errors of class 0 are 1/2 and 1/2, IoU 1 -> 1/2 -> 0; hinge errors 1 + 0: the first false alarm takes all
        ("lovasz", {}, 0.5, 1),
        ("boundary", {}, 0, 0),
    ],
)
def test_a_class_that_the_batch_has_not_by_hand(name: str, options: dict[str, object], multiclass: float, sigmoid: float) -> None:
    target = torch.zeros(1, 1, 2, dtype=torch.int64)
    assert float(loss_of(name, "multiclass", options)(torch.zeros(1, 2, 1, 2), target)) == pytest.approx(multiclass)
    cases: list[tuple[Task, Tensor]] = [("binary", target), ("multilabel", target[:, None])]
    for task, given in cases:
        loss = loss_of(name, task, options)
        assert float(loss(torch.zeros(1, 1, 1, 2), given)) == pytest.approx(sigmoid)


@pytest.mark.parametrize(("name", "task"), [(name, task) for name, task in EVERY if name != "boundary"])
def test_void_pixels_are_as_if_they_were_not_there(name: str, task: Task) -> None:
    loss, target = loss_of(name, task), truth(task)
    logits = logits_for(target.roll(1, dims=-2), task, sure=1.0)
    wider = F.pad(target, (4, 4, 0, 0), value=IGNORE_INDEX)
    padded = F.pad(logits, (4, 4, 0, 0), mode="replicate")
    assert float(loss(padded, wider)) == pytest.approx(float(loss(logits, target)), rel=1e-5)


def test_boundary_by_hand() -> None:
    # a border of 4 columns at the middle of 8 x 8 (2 a side): found where the logits say it, 2 columns further right
    target = torch.zeros(1, 8, 8, dtype=torch.int64)
    target[..., 4:] = 1
    moved = torch.zeros(1, 8, 8, dtype=torch.int64)
    moved[..., 6:] = 1
    loss = loss_of("boundary", "binary", {"tolerance_px": 3})
    # of "yes", within a window of 3: the true border is column 4, the found one column 6: none is within one pixel
    assert float(loss(logits_for(moved, "binary", sure=60), target)) == pytest.approx(1)
    wider = loss_of("boundary", "binary", {"tolerance_px": 5})
    assert float(wider(logits_for(moved, "binary", sure=60), target)) == pytest.approx(0)  # all are within two
    # void columns where no border is near change nothing, whatever is said there
    beside = F.pad(logits_for(moved, "binary", sure=60), (4, 0, 0, 0), value=60)
    assert float(loss(beside, F.pad(target, (4, 0, 0, 0), value=IGNORE_INDEX))) == pytest.approx(1)
    assert float(wider(beside, F.pad(target, (4, 0, 0, 0), value=IGNORE_INDEX))) == pytest.approx(0)


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_boundary_weighs_what_is_found_against_what_is_right_by_hand(task: Task) -> None:
    truth, found = torch.zeros(1, 8, 12, dtype=torch.int64), torch.zeros(1, 8, 12, dtype=torch.int64)
    truth[..., 6:] = found[..., 6:] = 1
    found[..., :3] = 1  # a second border that is none
    if task == "multilabel":
        truth, found = truth[:, None], found[:, None]
    loss = loss_of("boundary", task, {"tolerance_px": 3})
    # of 16 pixels of found borders 8 are right, and all 8 of the true one are found: F1 = 2 * 1/2 * 1 / (1/2 + 1)
    assert float(loss(logits_for(found, task, sure=60), truth)) == pytest.approx(1 - 2 / 3)
    # a window of 5 makes borders of two columns: 6 and 7; found two further right, one of them is within one pixel, either way
    moved = torch.zeros_like(truth)
    moved[..., 8:] = 1
    wide = loss_of("boundary", task, {"width_px": 5, "tolerance_px": 3})
    assert float(wide(logits_for(moved, task, sure=60), truth)) == pytest.approx(1 - 1 / 2)


def test_boundary_of_several_classes_by_hand() -> None:
    # 0 | 1 of four classes, found two columns too far right; the borders of 0 are columns 3 (true) and 5 (found), of 1 columns 4 and 6
    target = torch.zeros(1, 8, 8, dtype=torch.int64)
    target[..., 4:] = 1
    moved = torch.zeros(1, 8, 8, dtype=torch.int64)
    moved[..., 6:] = 1
    for tolerance_px, expected in ((3, 1.0), (5, 0.0)):
        loss = loss_of("boundary", "multiclass", {"tolerance_px": tolerance_px})
        assert float(loss(logits_for(moved, "multiclass", sure=60), target)) == pytest.approx(expected, abs=1e-6)


def test_hard_pixels_are_a_share_of_those_that_are_known() -> None:
    # losses log(1 + e^-x): 4 known pixels, the hardest half are those of x = -2 and -1; the void ones, the hardest of all, do not count
    logits = torch.tensor([-9.0, -9.0, -2.0, -1.0, 1.0, 2.0]).view(1, 1, 1, 6)
    target = torch.tensor([IGNORE_INDEX, IGNORE_INDEX, 1, 1, 1, 1]).view(1, 1, 6)
    loss = loss_of("cross_entropy", "binary", {"hard_share": 0.5})
    assert float(loss(logits, target)) == pytest.approx((math.log1p(math.exp(2)) + math.log1p(math.exp(1))) / 2)


def test_focal_tversky_by_hand() -> None:
    # one "yes" of two pixels, both at probability one half: overlap 0.5, found too much 0.5, missed 0.5: index 0.5 / (0.5 + 0.5) = 0.5
    target = torch.tensor([[[1, 0]]])
    loss = loss_of("tversky", "binary", {"gamma": 2.0})
    assert float(loss(torch.zeros(1, 1, 1, 2), target)) == pytest.approx(0.5**0.5)


def random_case(task: Task, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = truth(task)
    logits = torch.randn(2, 1 if task == "binary" else 4, 12, 12, generator=generator)
    target[..., 3:5] = IGNORE_INDEX
    return logits, target


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["dice", "jaccard", "tversky"])
def test_regions_agree_with_smp_where_every_class_is_present(name: str, task: Task) -> None:
    logits, target = random_case(task)
    theirs = {
        "dice": smp.losses.DiceLoss(task, ignore_index=IGNORE_INDEX),
        "tversky": smp.losses.TverskyLoss(task, ignore_index=IGNORE_INDEX, alpha=0.3, beta=0.7),
    }
    if name == "jaccard":  # smp's knows no void
        target = truth(task)
        theirs["jaccard"] = smp.losses.JaccardLoss(task)
    own = loss_of(name, task)(logits, target)
    given = target[:, None] if task == "binary" else target
    assert float(own) == pytest.approx(float(theirs[name](logits, given)), rel=1e-5)


@pytest.mark.parametrize("task", ["multiclass", "binary"])
def test_lovasz_agrees_with_smp(task: Task) -> None:
    logits, target = random_case(task)
    theirs = smp.losses.LovaszLoss(task, ignore_index=IGNORE_INDEX)(logits, target)
    assert float(loss_of("lovasz", task)(logits, target)) == pytest.approx(float(theirs), rel=1e-5)


def test_focal_agrees_with_torchvision() -> None:
    logits, _ = random_case("multilabel")
    target = truth("multilabel")
    theirs = sigmoid_focal_loss(logits, target.float(), alpha=-1, gamma=2, reduction="mean")
    assert float(loss_of("focal", "multilabel")(logits, target)) == pytest.approx(float(theirs), rel=1e-5)


def test_cross_entropy_agrees_with_torch_on_weights_smoothing_and_void() -> None:
    logits, target = random_case("multiclass")
    options = {"class_weights": [1.0, 2.0, 3.0, 4.0], "label_smoothing": 0.2}
    theirs = F.cross_entropy(logits, target, torch.tensor([1.0, 2, 3, 4]), ignore_index=IGNORE_INDEX, label_smoothing=0.2)
    own = loss_of("cross_entropy", "multiclass", options)(logits, target)
    assert float(own) == pytest.approx(float(theirs), rel=1e-5)


def test_a_sum_weighs_its_terms() -> None:
    logits, target = random_case("multiclass")
    terms = [Term("cross_entropy", {}, 1.0), Term("dice", {"smooth": 1.0}, 0.5)]
    alone = [loss_of(term.name, "multiclass", term.options)(logits, target) for term in terms]
    assert float(build("multiclass", terms)(logits, target)) == pytest.approx(float(alone[0] + 0.5 * alone[1]))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_softmax_in_parts_is_that_of_the_whole(layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_softmax, "VALUES", 500)  # of five classes a hundred pixels, which do not divide the images'
    generator = torch.Generator().manual_seed(0)
    logits = 30 * torch.randn(2, 5, 13, 17, generator=generator, dtype=torch.float64)
    logits = logits.to(memory_format=layout).requires_grad_()
    target = torch.randint(0, 5, (2, 13, 17), generator=generator)
    target[:, :3] = IGNORE_INDEX
    found = []
    log = F.log_softmax(logits, dim=1)
    true = F.one_hot(torch.where(target == IGNORE_INDEX, 5, target), 6)[..., :5].permute(0, 3, 1, 2)
    probability = log.exp() * true.sum(dim=1, keepdim=True)
    written_out = ((log * true).sum(1), (probability * true).sum((0, 2, 3)), probability.sum((0, 2, 3)))
    for reduced in (_softmax.of(logits, target), written_out):
        weights = [torch.randn(one.shape, generator=torch.Generator().manual_seed(1), dtype=one.dtype) for one in reduced]
        total = torch.stack([(one * weight).sum() for one, weight in zip(reduced, weights, strict=True)]).sum()
        [slope] = torch.autograd.grad(total, logits)
        found.append([*reduced, slope])
    for in_parts, whole in zip(*found, strict=True):
        assert torch.allclose(in_parts, whole, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("classes", [3, 25])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_cross_entropy_of_few_and_of_many_classes_is_torch_s(classes: int, layout: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, classes, 5, 7, generator=generator).to(memory_format=layout).requires_grad_()
    target = torch.randint(0, classes, (2, 5, 7), generator=generator)
    target[0, :2] = IGNORE_INDEX
    values = [loss_of("cross_entropy", "multiclass")(logits, target), F.cross_entropy(logits, target, ignore_index=IGNORE_INDEX)]
    slopes = [torch.autograd.grad(value, logits)[0] for value in values]
    assert torch.allclose(values[0], values[1]) and torch.allclose(slopes[0], slopes[1], atol=1e-7)


class WithAuxiliaryHead(nn.Module):
    """Gives logits and those of a head that counts 0.4 of them."""

    def __init__(self, *logits: Tensor) -> None:
        super().__init__()
        self.logits, self.network = logits, nn.Module()
        self.network.auxiliary_weight = 0.4  # type: ignore[assignment]

    def forward(self, _: Tensor) -> tuple[Tensor, ...]:
        return self.logits


def test_the_auxiliary_head_counts_as_much_as_it_says() -> None:
    logits, target = random_case("multiclass")
    loss = loss_of("cross_entropy", "multiclass")
    network = WithAuxiliaryHead(logits, -logits)
    expected = float(loss(logits, target)) + 0.4 * float(loss(-logits, target))
    assert float(objective.of(network, loss, torch.zeros(1), target)) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_weights_of_another_number_of_classes_are_refused(name: str) -> None:
    logits, target = random_case("multiclass")
    with pytest.raises(ParamsError, match="class_weights has 2 values; expected 4"):
        loss_of(name, "multiclass", {"class_weights": [1, 2]})(logits, target)
