"""Learning-rate decay, one schedule a file.

Each file has `build(optimizer, total_steps, **options) -> LRScheduler`, stepped once a batch.
"""
