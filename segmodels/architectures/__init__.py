"""Networks, one a file.

Each file has `build(in_channels, num_classes, *, encoder, weights, **options) -> Module` that turns B x in_channels x H x W
(normalised floats, H and W multiples of 32) into logits B x num_classes x H x W.
"""
