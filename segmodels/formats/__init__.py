"""Dataset formats, one a file.

Each file has
* `detect(root) -> str | None`: what in the folder shows that it has this format; None where nothing does;
* `read(root) -> Iterator[Sample]`: all that can be used; then, if there is more, it raises one DatasetError that lists what is wrong
  with the rest, file by file;
* `classes(root) -> list[SegmentationClass] | None`: None where the dataset does not name its classes;
* `notes(root) -> list[Path]`: the files besides those of the samples that the other three read.

Nothing here decodes a picture unless classes can be told no other way.
"""
