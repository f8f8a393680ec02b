"""Requests that come at the same time are predicted together: what waits when the network is free makes the next batch."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from segmodels.predict import Predictor
from segmodels.samples import ImageArray, UInt8Array


@dataclass(frozen=True)
class Served:
    """A model that answers. `version` is its version in the registry, or its bundle's hash."""

    version: str
    predictor: Predictor


class Full(Exception):
    """As many images wait as may."""


class _GivenUp(Exception):
    """Nobody waits for the answer any more."""


@dataclass(eq=False)
class _Waiting:
    image: ImageArray
    answer: "asyncio.Future[tuple[Served, UInt8Array]]"


class Batcher:
    """One network, many who ask. `run` must be running in the same event loop.

    Args:
        current: the model that is to answer now; a batch is of one model, whatever becomes champion meanwhile.
        at_once: how many images make a batch at most.
        waiting: how many may wait.
        on_batch: told the size of every batch.
    """

    def __init__(
        self, current: Callable[[], Served], *, at_once: int, waiting: int, on_batch: Callable[[int], None] = lambda _: None
    ) -> None:
        self.current, self.at_once, self.on_batch = current, at_once, on_batch
        self._network = ThreadPoolExecutor(1)  # its own: nothing else is to keep it waiting
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(maxsize=waiting)

    def __len__(self) -> int:
        """How many wait."""
        return self._queue.qsize()

    async def __call__(self, image: ImageArray) -> tuple[Served, UInt8Array]:
        """The labelling of an image, and the model that it is of.

        Raises:
            Full: too many wait already.
            InputError: the model is of images of another kind.
        """
        waiting = _Waiting(image, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(waiting)
        except asyncio.QueueFull:
            raise Full from None
        return await waiting.answer

    async def run(self) -> None:
        """Answer, until cancelled."""
        try:
            while True:
                some = [await self._queue.get()]
                while len(some) < self.at_once and not self._queue.empty():
                    some.append(self._queue.get_nowait())
                some = [one for one in some if not one.answer.cancelled()]  # whose caller has gone
                served = self.current()
                tiled = [one for one in some if served.predictor.in_tiles(*one.image.shape[:2])]
                for batch in ([one for one in some if one not in tiled], *([one] for one in tiled)):
                    if batch:
                        self.on_batch(len(batch))
                        await self._answer(served, batch)
        finally:
            self._network.shutdown(wait=False, cancel_futures=True)

    async def _answer(self, served: Served, some: list[_Waiting]) -> None:
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._network, _predicted, served.predictor, some)
        except Exception as error:
            # one image that cannot be predicted must not cost the others their answers
            if len(some) > 1:
                for one in some:
                    await self._answer(served, [one])
            elif not some[0].answer.done():
                some[0].answer.set_exception(error)
            return
        for one, labelling in zip(some, found, strict=True):
            if not one.answer.done():
                one.answer.set_result((served, labelling))


def _predicted(predictor: Predictor, some: list[_Waiting]) -> list[UInt8Array]:
    """The labellings of a batch. One of many tiles is given up when nobody waits for it any more."""
    if len(some) > 1 or not predictor.in_tiles(*some[0].image.shape[:2]):
        return predictor.each([one.image for one in some])
    [one] = some
    bands = []
    for _, rows in predictor.bands(one.image):
        if one.answer.cancelled():
            raise _GivenUp  # not asyncio.CancelledError: that would end who awaits it, and with it all answers
        bands.append(rows)
    return [np.concatenate(bands, axis=-2)]
