"""Prefect flows: decide when, where and how many at once. What is done stands in segmodels, what depends on what in dvc.yaml."""

import os
from pathlib import Path

from flows import servers
from segmodels import console, environment
from segmodels.project import WORK

environment.apply()
servers.join()
# Prefect's database and the results stay in the project; a server of one's own is named by PREFECT_API_URL
os.environ.setdefault("PREFECT_HOME", str((WORK / "prefect").resolve()))
Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
# on the terminal what the stages print says more, and `main` tells a failure in a sentence; Prefect's records have the tracebacks
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
if console.DEBUG not in os.environ:
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
