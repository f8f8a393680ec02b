"""Where everything lies in a project; dvc.yaml has the same paths."""

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
LOCKS = WORK / "locks"
