"""Prefect flows: decide when, where and how many at once. What is done stands in segmodels, what depends on what in dvc.yaml."""

import os
from pathlib import Path

from segmodels import quiet
from segmodels.project import WORK

quiet.apply()
# the temporary server's database and the results stay in the project; a server of one's own is named by PREFECT_API_URL
os.environ.setdefault("PREFECT_HOME", str((WORK / "prefect").resolve()))
Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")  # what the stages print says more
