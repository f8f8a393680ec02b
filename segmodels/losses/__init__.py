"""Losses, one a file.

Each file has `build(task, **options) -> loss`, and `loss(outputs)` gives a scalar, see _outputs.py. Logits are float32, void is IGNORE_INDEX:

    multiclass   logits B x C x H x W (softmax), target B x H x W of class indices
    binary       logits B x 1 x H x W (sigmoid), target B x H x W of 0 and 1
    multilabel   logits B x C x H x W (sigmoid), target B x C x H x W of 0 and 1

Void pixels have no say, and a batch of nothing but void gives 0.
"""
