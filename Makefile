# Every target with a `## ` comment is shown by `make help`.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
# half of a test is a program that starts, on one core
TWO_FILES_AT_A_TIME := --numprocesses 2 --dist loadfile
ONE_FOR_EACH_ARCHITECTURE := tests/pipeline/test_every_architecture.py tests/pipeline/test_every_architecture_learns.py
# a tool's own program, with telemetry off
TOOL := $(BIN)/python -m segmodels.environment
REMOTE_IS_SET = test -n "$$($(TOOL) dvc config core.remote 2>/dev/null)" || \
	{ echo "there is no remote yet: $(BIN)/dvc remote add --default storage <folder or ssh://host/folder>"; exit 2; }
export PATH := $(abspath $(BIN)):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo data push pull retrain up down history rollback reproduce clean-cache serve dashboard mlflow doctor check types test-fast test test-slow screenshots bench bench-full bench-camvid lock

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(BIN)/.installed  ## install everything into .venv, as the lock says

$(BIN)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "segmodels needs Python 3.11 or newer: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check "uv==$(UV_VERSION)"
	$(BIN)/uv pip install -q --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

demo: setup  ## draw a small dataset, run the whole pipeline on it, show the leaderboard
	@test ! -e data/raw -a ! -e data/raw.dvc || diff -rq -x '.*' data/drawn/images data/raw/images > /dev/null 2>&1 || \
		{ echo "make demo: there is a dataset already, and not the demo's; run the demo in a fresh clone"; exit 2; }
	test -d data/drawn || $(BIN)/segmodels shapes data/drawn
	@$(MAKE) --no-print-directory data SOURCE=data/drawn FORMAT=folder
	$(BIN)/python -m flows.retrain

data: setup  ## bring a dataset in: make data SOURCE=<folder> [FORMAT=<name>] [QUARANTINE=1: leave out what is wrong]
	@test -n "$(SOURCE)" || { echo "make data: name the dataset's folder: make data SOURCE=<folder> [FORMAT=<name>]"; exit 2; }
	$(BIN)/segmodels ingest "$(SOURCE)" --format "$(or $(FORMAT),auto)" $(if $(QUARANTINE),--quarantine)
	$(TOOL) dvc add -q data/raw

push: setup  ## copy dataset, models and results to DVC's remote: dvc remote add --default storage <folder or ssh://host/folder>
	@$(REMOTE_IS_SET)
	$(TOOL) dvc push -q --run-cache

pull: setup  ## fetch from DVC's remote what this commit's dataset, models and results are
	@$(REMOTE_IS_SET)
	$(TOOL) dvc pull -q --run-cache --allow-missing

retrain: setup  ## make anew what has changed: prepare, augment, train, evaluate, compare, register
	$(BIN)/python -m flows.retrain

up: setup  ## start the servers that retrain by the clock and whenever the dataset changes, and say where they are
	@$(BIN)/segmodels up

down: setup  ## end the servers of `make up`, and what they have started
	@$(BIN)/segmodels down

history: setup  ## list the versions in the registry, and what was decided about each
	$(BIN)/segmodels history

rollback: setup  ## make the champion before this one, or any version, champion again: make rollback [VERSION=<n>]
	$(BIN)/segmodels rollback $(if $(VERSION),--version "$(VERSION)")

reproduce: setup  ## train and score a version anew from its records, and compare: make reproduce VERSION=<n>
	@test -n "$(VERSION)" || { echo "make reproduce: name the version: make reproduce VERSION=<n>, of make history"; exit 2; }
	$(BIN)/segmodels reproduce "$(VERSION)"

clean-cache: setup  ## remove from DVC's cache what no branch, tag or version of the registry needs
	@$(BIN)/segmodels clean-cache

serve: setup  ## answer images with masks over HTTP, by the champion: make serve [PORT=8808]
	$(BIN)/python -m flows.serve $(if $(PORT),--port $(PORT))

doctor: setup  ## say what this machine has and what is wrong
	$(BIN)/segmodels doctor

dashboard: setup  ## show in a browser which candidate is best, why, and what it gets wrong: make dashboard [PORT=8501]
	@$(BIN)/segmodels dashboard $(if $(PORT),--port $(PORT))

mlflow: setup  ## show the runs and the registry in a browser
	$(TOOL) mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}"

check: setup  ## format, lint, types, import contracts, fast tests: under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache > $(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }
	@$(MAKE) --no-print-directory -j2 --output-sync=target types test-fast

types:  ## the types alone
	$(BIN)/mypy

# threads of two trainings wait for each other: with one each, both take half the time
test-fast test test-slow: export OMP_NUM_THREADS := 1

test-fast:  ## the fast tests alone, a second each at most
	$(BIN)/pytest -m "not slow and not unhurried" --ignore tests/pipeline $(TWO_FILES_AT_A_TIME)

test: setup  ## every test but the slow ones: under ten minutes
	$(BIN)/pytest -m "not slow" $(TWO_FILES_AT_A_TIME)

test-slow: setup  ## the slow tests: whole retrainings, every network, servers that are killed
	$(BIN)/pytest -m slow $(TWO_FILES_AT_A_TIME) --durations 30 --dist load $(ONE_FOR_EACH_ARCHITECTURE)
	$(BIN)/pytest -m slow $(TWO_FILES_AT_A_TIME) --durations 30 $(addprefix --ignore ,$(ONE_FOR_EACH_ARCHITECTURE))

screenshots: setup  ## take a picture of each page of the dashboard, of what is in this folder
	$(BIN)/python docs/screenshots.py

bench: setup  ## claims of speed, as ratios against what people would use instead, side by side: under ten minutes
	$(TOOL) python benchmarks/training.py step --rounds 4
	$(TOOL) python benchmarks/training.py loss
	$(TOOL) python benchmarks/training.py data
	$(TOOL) python benchmarks/prediction.py counting
	$(TOOL) python benchmarks/orchestration.py check

bench-full: bench  ## and the ones that take hours: trainings to the end, backends, serving, the dashboard, how cost grows
	$(TOOL) python benchmarks/training.py epochs
	$(TOOL) python benchmarks/prediction.py backends --work .segmodels/bench
	$(TOOL) python benchmarks/serving.py load --work .segmodels/bench
	$(TOOL) python benchmarks/dashboard.py
	$(TOOL) python benchmarks/growth.py step
	$(TOOL) python benchmarks/growth.py training
	$(TOOL) python benchmarks/growth.py stages

bench-camvid: setup  ## CamVid against the ordinary smp loop, an hour: make bench-camvid CAMVID=<folder>
	@test -n "$(CAMVID)" || { echo "make bench-camvid: name the folder with train.txt: make bench-camvid CAMVID=<folder>"; exit 2; }
	$(BIN)/python benchmarks/camvid.py compare "$(CAMVID)"

lock:  ## make requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes --no-emit-index-url -q -o requirements.lock --custom-compile-command "make lock"
