"""Whether every pair of a dataset is sound, and what is in it. Decodes on all cores, but only what it has not seen before."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segmodels import workers
from segmodels.dataset import Dataset, unusable
from segmodels.errors import DatasetError
from segmodels.ledger import Ledger
from segmodels.pairs import Facts, load
from segmodels.samples import ImageKind, Sample, SegmentationClass
from segmodels.watching import Progress, silent

CHUNK = 32
"""Pairs that a worker is given at once."""
SECONDS_A_PAIR = 60.0


@dataclass(frozen=True)
class Chunk:
    """Some pairs to be looked at."""

    samples: Sequence[Sample]
    classes: Sequence[SegmentationClass]
    kind: ImageKind


def examine(
    dataset: Dataset,
    ledger: Ledger,
    hashes: Mapping[Path, str],
    *,
    processes: int | None = None,
    progress: Progress[tuple[Sample, Facts | str]] = silent,
) -> Iterator[tuple[Sample, Facts]]:
    """Every sound pair with what was counted in it; at the end raise one error that lists all else.

    Args:
        hashes: the digests of the dataset's files, as the ledger has them.

    Raises:
        DatasetError: pairs are unusable, or end or halt the process that reads them.
    """
    keys = ledger.keys(dataset, hashes)
    known = ledger.facts(keys.values())
    problems = list[str]()
    results = _results(dataset, {name: known[key] for name, key in keys.items() if key in known}, processes)
    fresh: dict[str, Facts] = {}
    for sample, found in progress(results, "checking images and masks", len(dataset.samples)):
        if isinstance(found, str):
            problems.append(found)
            continue
        if sample.id in keys and keys[sample.id] not in known:
            fresh[keys[sample.id]] = found
            if len(fresh) >= CHUNK:  # what is killed goes on where it was
                ledger.note(fresh)
                fresh.clear()
        yield sample, found
    ledger.note(fresh)
    if problems or dataset.problems:
        raise unusable(dataset, problems)


def _results(dataset: Dataset, known: dict[str, Facts], processes: int | None) -> Iterator[tuple[Sample, Facts | str]]:
    """In the order of the samples: what is known, or what a worker finds."""
    unknown = [sample for sample in dataset.samples if sample.id not in known]
    looked_at = _looked_at(unknown, dataset.classes, dataset.kind, processes)
    for sample in dataset.samples:
        yield sample, known[sample.id] if sample.id in known else next(looked_at)


def _looked_at(
    samples: Sequence[Sample], classes: Sequence[SegmentationClass], kind: ImageKind, processes: int | None
) -> Iterator[Facts | str]:
    size = min(CHUNK, max(1, len(samples) // (2 * (processes or workers.cores()))))
    chunks = [Chunk(samples[start : start + size], classes, kind) for start in range(0, len(samples), size)]
    for chunk, found in zip(chunks, workers.each(look_at, chunks, processes=processes, seconds=_seconds), strict=True):
        if isinstance(found, workers.Ended):
            yield from _one_by_one(chunk.samples, classes, kind)
        else:
            yield from found


def culprits(samples: Sequence[Sample], classes: Sequence[SegmentationClass], kind: ImageKind) -> list[str]:
    """What is wrong with those of a worker's samples that are: one of them ended it."""
    return [found for found in _one_by_one(samples, classes, kind) if isinstance(found, str)]


def _one_by_one(samples: Sequence[Sample], classes: Sequence[SegmentationClass], kind: ImageKind) -> Iterator[Facts | str]:
    alone = [Chunk([sample], classes, kind) for sample in samples]
    for sample, found in zip(samples, workers.each(look_at, alone, seconds=_seconds), strict=True):
        if isinstance(found, workers.Ended):
            yield f"{sample.image_path}: it, or its annotation, {found.how}; it is damaged, or made to do harm: export it again"
        else:
            yield from found


def look_at(chunk: Chunk) -> list[Facts | str]:
    """What is in each pair, or what is wrong with it. Runs in a worker."""
    found = list[Facts | str]()
    for sample in chunk.samples:
        try:
            image, labelling = load(sample, chunk.classes, chunk.kind)
            found.append(Facts.of(image, labelling, chunk.classes, sample.instances(labelling.shape[-2:])))
        except DatasetError as error:
            found.append(str(error))
        except Exception as error:  # decoders of strangers' files raise what they like
            told = f"{type(error).__name__}: {error}"
            found.append(f"{sample.image_path}: it, or its annotation, cannot be read ({told}); it is damaged: export it again")
    return found


def _seconds(chunk: Chunk) -> float:
    return SECONDS_A_PAIR * len(chunk.samples)
