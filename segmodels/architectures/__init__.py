"""Networks, one a file.

Each file has `build(in_channels, num_classes, *, encoder, weights, **options) -> Module`, the encoder with the default that suits it.
The module turns B x in_channels x H x W (normalised floats, H and W multiples of 32) into logits B x num_classes x H x W, and its
`encoder` is the part that pretrained weights are for. One with an `auxiliary_weight` gives a pair in training mode: the logits and
those of its auxiliary head, whose loss counts that much. One that needs images larger than 32 x 32 says its `min_size_px`.
"""
