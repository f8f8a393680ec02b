"""Losses, one a file.

Each file has `build(**options) -> loss`, and `loss(logits_BCHW, target_BHW)` gives a scalar: float32 logits, int64 targets with
IGNORE_INDEX where void. Void pixels have no say, and a batch of nothing but void gives 0.
"""
