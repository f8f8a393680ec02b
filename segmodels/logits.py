"""What a network's logits say, in each of the three tasks (see labels.py), and the labellings of masks as tensors."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from segmodels.labels import Labels
from segmodels.samples import Task


def decide(logits_BCHW: Tensor, task: Task, thresholds: Sequence[float] | None = None) -> Tensor:
    """The most probable labelling, uint8: B x H x W, for `multilabel` B x C x H x W.

    Args:
        thresholds: of each logit, how probable it must be to count, where classes do not exclude each other; one half if None.
    """
    if task == "multiclass":
        return logits_BCHW.max(dim=1).indices.to(torch.uint8)  # a quarter of the time that argmax takes on a CPU
    limits = torch.tensor(thresholds or [0.5] * logits_BCHW.shape[1], device=logits_BCHW.device).logit()
    yes_BCHW = (logits_BCHW > limits[:, None, None]).to(torch.uint8)
    return yes_BCHW[:, 0] if task == "binary" else yes_BCHW


def confidence(logits_BCHW: Tensor, labelling: Tensor, task: Task) -> Tensor:
    """How probable each label of a labelling is, float32, of its shape."""
    scores = logits_BCHW.float()
    if task == "multiclass":
        return (scores.amax(dim=1) - scores.logsumexp(dim=1)).exp()
    yes = (scores[:, 0] if task == "binary" else scores).sigmoid()
    return torch.where(labelling == 1, yes, 1 - yes)


def probabilities(logits_BCHW: Tensor, task: Task) -> Tensor:
    """How probable each class is, B x C x H x W float32; both of them where there are two."""
    scores = logits_BCHW.float()
    if task == "multiclass":
        return scores.softmax(dim=1)
    yes = scores.sigmoid()
    return torch.cat([1 - yes, yes], dim=1) if task == "binary" else yes


def labelling_of(masks: Tensor, labels: Labels) -> Tensor:
    """The labelling of masks, ... x H x W uint8."""
    if not labels.overlap:
        return masks
    return _table(labels, masks.device)[masks.int()].movedim(-1, -3)


@cache
def _table(labels: Labels, device: torch.device) -> Tensor:
    """Kept on the device, as every step looks it up."""
    return torch.from_numpy(labels.table).to(device)
