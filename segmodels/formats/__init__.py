"""Dataset formats, one a file.

Each file has `detect(root) -> bool`, `read(root) -> Iterator[Sample]` and `classes(root) -> list[SegmentationClass] | None`
(None: the dataset does not name its classes). Nothing here decodes a picture unless classes can be told no other way.
"""
