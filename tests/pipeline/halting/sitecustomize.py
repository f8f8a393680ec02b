"""Loaded by every Python started with this folder on PYTHONPATH: a training goes no further than its second epoch's checkpoint.

It stops all its process group there, and waits to be killed when the group goes on. That moment lasts a tenth of a second: a test that
watched the output for it would miss it on a busy machine, and the rest of the training is over within the time that a kill may take.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any


def _halt(event: str, arguments: tuple[Any, ...]) -> None:
    # an epoch's progress is written after its checkpoint, whole, then renamed
    saved = event == "os.rename" and Path(str(arguments[1])).match(".segmodels/progress/*.json")
    if saved and json.loads(Path(arguments[0]).read_text(encoding="utf-8"))["epoch"] == 2:
        os.killpg(0, signal.SIGSTOP)
        signal.pause()


sys.addaudithook(_halt)
