"""`make clean-cache`: what nobody needs any more leaves DVC's cache. What a registered version was made from always stays."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from flows import pipeline, reproduction
from segmodels import locks, tracking
from segmodels.project import LOCKS, WORK


def clean(project: str, *, say: Callable[[str], None]) -> int:
    """Remove from DVC's cache what neither this folder, a branch or tag, nor a version of the registry needs; returns the bytes freed.

    Raises:
        InputError: nobody knows what a version was made from: then nothing is removed.
    """
    with locks.held(LOCKS / "retrain", on_wait=lambda: say("a retraining runs in this folder; waiting for it")):
        versions = tracking.connect().search_model_versions(f"name = '{project}'") if tracking.is_begun() else []
        WORK.mkdir(exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="clean-", dir=WORK))
        try:
            clones = [reproduction.checked_out(one, work / str(one.version)) for one in versions]
            return pipeline.collect_garbage(clones)
        finally:
            shutil.rmtree(work, ignore_errors=True)
