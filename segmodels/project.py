"""Where everything lies in a project, and which commit of it is checked out; dvc.yaml has the same paths."""

import subprocess
from pathlib import Path

PARAMS = Path("params.yaml")
RAW = Path("data/raw")  # the dataset as it was brought in
PREPARED = Path("data/prepared")
FACTS = Path("data/facts")  # what the dataset holds, for people: nothing is trained from it
AUGMENTED = Path("data/augmented")
BUNDLES = Path("bundles")
EVALUATED = Path("data/evaluated")
REPORTS = Path("reports")
WORK = Path(".segmodels")  # work in progress: checkpoints, locks, how far trainings are
CHECKPOINTS = WORK / "checkpoints"
DECISIONS = WORK / "decisions"  # what was left to us, by candidate
LEDGER = WORK / "ledger.db"  # what need not be found out twice
SHARDS = WORK / "shards"  # what need not be packed twice: the shards of data/prepared, under other names
PROGRESS = WORK / "progress"
COMPARED = WORK / "compared"  # what was compared last, for people who look while another retraining works
DURATIONS = WORK / "durations"  # what each stage took last
FETCHED = "SEGMODELS_FETCHED"  # the variable that says that a stage's results are fetched, and never made here
RAN = "SEGMODELS_RAN"  # the variable that names a file which a stage leaves when it runs
FORKS = WORK / "forks.socket"  # where stages find a process that has imported what they need
LOCKS = WORK / "locks"


def git_commit() -> str | None:
    """The commit that is checked out, with `-dirty` when tracked files differ from it; None where there is none."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
