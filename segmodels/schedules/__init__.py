"""Learning-rate decay, one schedule a file.

Each file has `build(**options) -> schedule`, and `schedule(moment)` gives what the rate is multiplied by before a step. It is a pure
function: a resumed training needs no state of it, and a warm-up can stand before any of them.
"""
