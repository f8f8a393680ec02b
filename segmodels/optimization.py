"""How the weights move."""

from dataclasses import dataclass

import torch
from torch import nn

from segmodels.network import Segmenter


@dataclass(frozen=True)
class Optimization:
    """AdamW (arXiv:1711.05101), with decay on all but norms and biases.

    Attributes:
        encoder_rate: the encoder's learning rate as a share of `learning_rate`; below 1 spares what pretraining found.
        warmup_epochs: over which the rate rises from nothing.
        freeze_encoder_epochs: in which the encoder keeps its weights and statistics.
        gradient_clip: the norm that a step's gradient is cut to (arXiv:1211.5063); None for no limit.
        ema_decay: scores and keeps the moving average of the weights instead of the last ones (arXiv:1703.01780); None for the last.
    """

    learning_rate: float
    weight_decay: float
    encoder_rate: float = 1.0
    warmup_epochs: float = 0.0
    freeze_encoder_epochs: int = 0
    gradient_clip: float | None = None
    ema_decay: float | None = None

    def optimizer(self, segmenter: Segmenter, *, capturable: bool = False) -> torch.optim.AdamW:
        """Of all weights, in groups by rate and decay; each keeps the rate it begins with as `initial_lr`."""
        inside = {id(parameter) for parameter in segmenter.encoder.parameters()}
        groups = []
        for in_encoder, rate in ((True, self.learning_rate * self.encoder_rate), (False, self.learning_rate)):
            # norms and biases are scales and offsets, with no size to keep small
            for decayed, decay in ((True, self.weight_decay), (False, 0.0)):
                chosen = [
                    parameter
                    for parameter in segmenter.parameters()
                    if (id(parameter) in inside) == in_encoder and (parameter.ndim > 1) == decayed
                ]
                groups.append({"params": chosen, "lr": rate, "initial_lr": rate, "weight_decay": decay})
        return torch.optim.AdamW(groups, fused=True, capturable=capturable)

    def clip(self, segmenter: Segmenter) -> None:
        """Cut the gradient to its norm, where one is set."""
        if self.gradient_clip is not None:
            nn.utils.clip_grad_norm_(segmenter.parameters(), self.gradient_clip)
