"""Images that strangers send, decoded in processes of their own: one that crashes or hangs costs its own request alone."""

import asyncio
import itertools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
from pebble import ProcessExpired, ProcessPool

from segmodels import bounds, images, workers
from segmodels.errors import DatasetError
from segmodels.samples import ImageArray, ImageKind


class Undecodable(ValueError):
    """Why an image cannot be read. `too_large`: it could be, but has more pixels than it may."""

    def __init__(self, told: str, *, too_large: bool = False) -> None:
        super().__init__(told)
        self.too_large = too_large


def decode(task: tuple[Path, ImageKind, Path]) -> str | None:
    """Runs in a process of its own: write a file's image to an array file; returns why it cannot be read, if so.

    The array goes by way of a file since whoever waits for a message would wait for ever for the rest of one whose sender has died.
    """
    source, kind, into = task
    try:
        np.save(into, images.read_image(source, kind), allow_pickle=False)
    except DatasetError as error:
        return str(error)
    except Exception as error:  # decoders of strangers' files raise what they like
        return f"{source}: cannot be read ({type(error).__name__}: {error}); it is damaged: export it again"
    return None


class Decoders:
    """As many processes as there are cores, kept for the next image; `close` ends them."""

    def __init__(self, seconds: float, max_pixels: int) -> None:
        self.seconds, self.max_pixels = seconds, max_pixels
        self._closing = False
        self._pool = self._started()
        self._files = ThreadPoolExecutor(workers.cores())
        self._folder = tempfile.TemporaryDirectory(prefix="segmodels-")
        self._numbers = itertools.count()

    async def __call__(self, content: bytes, kind: ImageKind) -> ImageArray:
        """The image of a file's bytes.

        Raises:
            Undecodable: it is none, or of another kind, too large, or its decoder crashed or took too long.
        """
        loop, number = asyncio.get_running_loop(), next(self._numbers)
        source = Path(self._folder.name) / f"{number}{images.suffix_of(content)}"
        into = Path(self._folder.name) / f"{number}.npy"
        try:
            await loop.run_in_executor(self._files, source.write_bytes, content)
            told = await self._decoded((source, kind, into))
            if told is not None:
                told = told.replace(f"{source}: ", "").replace(str(source), "the image")
                raise Undecodable(told, too_large="pixels, more than" in told)
            image: ImageArray = await loop.run_in_executor(self._files, np.load, into)
            return image
        except ProcessExpired:
            raise Undecodable("the image ended the program that decodes it; it is damaged, or made to do harm") from None
        except TimeoutError:
            raise Undecodable(f"the image was not decoded within {self.seconds:g} s") from None
        finally:
            for path in (source, into):  # also where the decoder was killed, or nobody waits any more
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    async def _decoded(self, task: tuple[Path, ImageKind, Path]) -> str | None:
        """What `decode` returns. A worker that is ended while it has nothing to do ends its pool: then another takes its place."""
        pool = self._pool
        try:
            return await asyncio.wrap_future(pool.schedule(decode, args=[task], timeout=self.seconds))
        except RuntimeError:  # BrokenProcessPool, or what pebble raises for who asks later
            if self._closing:
                raise
        if pool is self._pool:
            self._pool = self._started()
            asyncio.get_running_loop().run_in_executor(self._files, workers.ended, pool)
        return await asyncio.wrap_future(self._pool.schedule(decode, args=[task], timeout=self.seconds))

    def _started(self) -> ProcessPool:
        pool = workers.started(workers.cores(), max_pixels=self.max_pixels, preload=[__name__])
        for _ in range(workers.cores()):  # who asks first is not to wait until they have started
            pool.schedule(bounds.max_pixels)
        return pool

    def close(self) -> None:
        self._closing = True
        workers.ended(self._pool)
        self._files.shutdown(cancel_futures=True)
        self._folder.cleanup()
