"""Telemetry is off, and what a person has set stays."""

import subprocess
import sys

from tests.conftest import clean_environment


def variables(**settings: str) -> dict[str, str]:
    command = [sys.executable, "-m", "segmodels.environment", "env"]
    said = subprocess.run(command, env=clean_environment() | settings, capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)


def test_tools_are_started_with_telemetry_off() -> None:
    found = variables()
    assert found["DO_NOT_TRACK"] == "true"
    assert found["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert found["DVC_NO_ANALYTICS"] == "1"
    assert found["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_what_a_person_has_set_stays() -> None:
    assert variables(DO_NOT_TRACK="no", GOMP_SPINCOUNT="7")["GOMP_SPINCOUNT"] == "7"
