"""The images behind the pages, as files of their own: a browser fetches and keeps them, and nothing of them goes through the page's socket.

What is asked for is a row of the manifest, and a candidate by its name among those that were compared: no name ever becomes a path.
"""

from collections.abc import Callable
from threading import Lock

import cv2
import numpy as np
from cachetools import LRUCache, cached
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from segmodels.dashboard.evaluated import Evaluated
from segmodels.errors import InputError
from segmodels.samples import UInt8Array

LONGEST_PX = 2048
"""The longer side of what is sent: of larger images every second, third ... pixel, of the picture and of its labels alike."""
KEPT_BYTES = 64_000_000
"""Of encoded pictures that are kept for the next one who asks."""


class Outdated(Exception):
    """What is asked for is of another comparison than that of now."""


WHAT = ("picture", "truth", "labelling")


def routes(evaluated: Callable[[], Evaluated]) -> list[Route]:
    """What answers them; `evaluated` gives the comparison of now. A page of another one is told so, and gets no image of this."""

    @cached(LRUCache(KEPT_BYTES, getsizeof=len), lock=Lock())
    def encoded(version: str, what: str, row: int, candidate: str, part: int | None) -> bytes:
        found = evaluated()
        if found.version != version:
            raise Outdated
        if what == "picture":
            return png(found.picture(row)[..., ::-1])
        labels = found.truth(row) if what == "truth" else found.labelling(candidate, row)
        if found.overlap:
            if part is None or not 0 <= part < len(found.class_names):
                raise InputError("class: classes overlap here: name one by its index")
            labels = labels[part]
        return png(labels)

    async def answer(request: Request) -> Response:
        what, asked = request.path_params["what"], request.query_params
        if what not in WHAT:
            return JSONResponse({"detail": f"there are {', '.join(WHAT)}"}, 404)
        part = asked.get("class", "")
        try:
            content = await run_in_threadpool(
                encoded,
                asked.get("version", ""),
                what,
                request.path_params["row"],
                asked.get("candidate", ""),
                int(part) if part.isdecimal() else None,
            )
        except Outdated:
            return JSONResponse({"detail": "candidates were compared anew meanwhile; load the page again"}, 409)
        except InputError as error:  # an image that is none, a candidate that was not compared
            return JSONResponse({"detail": str(error)}, 404)
        headers = {
            "Cache-Control": "private, max-age=86400, immutable",
            "Cross-Origin-Resource-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
        }
        return Response(content, media_type="image/png", headers=headers)

    return [Route("/images/{what}/{row:int}.png", answer)]


def step(height: int, width: int) -> int:
    """How many pixels one that is sent stands for, along each side of an image of this size."""
    return -(-max(height, width) // LONGEST_PX)


def png(picture: UInt8Array) -> bytes:
    """H x W, or H x W x 3 as OpenCV has colours, made small by leaving pixels out: labels stay labels."""
    every = step(*picture.shape[:2])
    encoded, content = cv2.imencode(".png", np.ascontiguousarray(picture[::every, ::every]), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert encoded
    return content.tobytes()
