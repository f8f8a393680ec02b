"""A project as a person has it, worked on with the Makefile's own targets: real DVC, Prefect, MLflow and processes."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from tests.conftest import clean_environment


@dataclass(frozen=True)
class Project:
    """A git repository with the program, small params and MLflow's records in `mlflow.db`."""

    folder: Path

    def make(self, *target: str, code: int = 0, environment: Mapping[str, str] = MappingProxyType({})) -> str:
        """Run a target with the environment of these tests; returns what was printed, to both streams."""
        done = subprocess.run(
            [*MAKE, *target],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=clean_environment(PYTHONUNBUFFERED="1", COLUMNS="200", NO_COLOR="1") | dict(environment),
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def segmodels(self, *arguments: str, code: int = 0) -> str:
        """Run a verb; returns what was printed, to both streams."""
        done = subprocess.run(
            [str(Path(sys.executable).with_name("segmodels")), *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=clean_environment(COLUMNS="200", NO_COLOR="1"),
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def dvc(self, *arguments: str, environment: Mapping[str, str] = MappingProxyType({})) -> str:
        """Run DVC as the Makefile does; returns what was printed, to both streams."""
        command = [sys.executable, "-m", "segmodels.environment", "dvc", *arguments]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            command,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=clean_environment(PATH=path) | dict(environment),
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    @property
    def client(self) -> MlflowClient:
        address = f"sqlite:///{self.folder / 'mlflow.db'}"
        return MlflowClient(tracking_uri=address, registry_uri=address)

    @property
    def leaderboard(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "reports" / "leaderboard.json").read_text())
        return found

    def runs(self, kind: str) -> list[Run]:
        """MLflow's runs of a kind ("retrain" or "candidate"), newest first."""
        client = self.client
        experiment = client.get_experiment_by_name("tiny")
        assert experiment is not None
        return list(client.search_runs([experiment.experiment_id], filter_string=f"tags.`segmodels.kind` = '{kind}'"))

    def versions(self) -> list[str]:
        return sorted(str(version.version) for version in self.client.search_model_versions("name = 'tiny'"))

    def champion_sha256(self) -> str:
        """Of the champion's bundle."""
        return str(self.client.get_model_version_by_alias("tiny", "champion").tags["segmodels.bundle_sha256"])

    def bundle_sha256(self, candidate: str) -> str:
        return hashlib.sha256((self.folder / "bundles" / candidate / "bundle.json").read_bytes()).hexdigest()

    def weights(self, candidate: str) -> bytes:
        return (self.folder / "bundles" / candidate / "model.safetensors").read_bytes()


# the environment is there: `setup` counts as done
MAKE = ["make", "--no-print-directory", "-o", "setup", f"VENV={sys.prefix}"]
