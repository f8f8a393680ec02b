"""From a dataset's files to shards, on all cores. What was packed before and has not changed is taken as it is, once its hash is checked."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from segmodels import digests, shards, workers
from segmodels.dataset import Dataset, unusable
from segmodels.examination import SECONDS_A_PAIR, culprits
from segmodels.images import size_of
from segmodels.ledger import Ledger
from segmodels.samples import Sample
from segmodels.shards import Order, Shard
from segmodels.watching import Progress, silent


def pack(
    dataset: Dataset,
    ledger: Ledger,
    kept: Path,
    *,
    processes: int | None = None,
    shard_bytes: int = shards.SHARD_BYTES,
    progress: Progress[Sample] = silent,
) -> list[Shard]:
    """The shards of all samples, in the order of their ids.

    Args:
        kept: the folder of the shards, each under a name for all that decides what is in it.

    Raises:
        DatasetError: pairs are unusable; all are listed.
    """
    keys = ledger.keys(dataset, ledger.digests(dataset.files))
    pixels = {key: facts.height * facts.width for key, facts in ledger.facts(keys.values()).items()}
    orders = list(_orders(dataset, keys, pixels, kept, shard_bytes))
    problems = list[str]()

    def packed() -> Iterator[Sample]:
        largest_first = sorted(orders, key=lambda order: -order.size)  # so that all processes end at about the same time
        results = workers.each(shards.make, largest_first, processes=processes, seconds=_seconds)
        for order, found in zip(largest_first, results, strict=True):
            problems.extend(_culprits(order, found) if isinstance(found, workers.Ended) else found)
            yield from order.samples

    for _ in progress(packed(), "packing images and masks", len(dataset.samples)):
        pass
    if problems or dataset.problems:
        raise unusable(dataset, sorted(problems))
    return [shards.read(order.folder) for order in orders]


def remove_others(made: Sequence[Shard], kept: Path) -> None:
    """Remove the shards that are no longer of the dataset."""
    of_dataset = {one.folder for one in made}
    for folder in kept.iterdir():
        if folder.is_dir() and folder not in of_dataset:
            shutil.rmtree(folder, ignore_errors=True)


def _orders(
    dataset: Dataset, keys: Mapping[str, str], pixels: Mapping[str, int], kept: Path, shard_bytes: int
) -> Iterator[Order]:
    samples = {sample.id: sample for sample in dataset.samples}
    sizes = {
        name: dataset.kind.bytes_a_pixel * (pixels.get(keys.get(name, "")) or size_of(one.image_path))
        for name, one in samples.items()
    }
    for part in shards.cut(sizes, shard_bytes=shard_bytes):
        # a file that cannot be read has no key, and the shard no future
        folder = kept / digests.of_texts(*(f"{name} {keys.get(name)}" for name in part))
        size = sum(sizes[name] for name in part)
        yield Order(folder, [samples[name] for name in part], dataset.classes, dataset.task, dataset.kind, size)


def _culprits(order: Order, ended: workers.Ended) -> list[str]:
    found = culprits(order.samples, order.classes, order.kind)
    if not found:
        raise MemoryError(f"a worker {ended.how}, though each of its {len(order.samples)} images alone is sound; run it again")
    return found


def _seconds(order: Order) -> float:
    return SECONDS_A_PAIR + len(order.samples)
