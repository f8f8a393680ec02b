"""Variables that the tools used read as they are imported: nothing leaves the machine by itself, and processes share its cores.

A person who wants one of them otherwise sets it: what is set already stays.

    python -m segmodels.environment COMMAND ...      run one of the tools' own programs with them
"""

import os
import sys

ENVIRONMENT = {
    "DO_NOT_TRACK": "true",  # MLflow accepts only this word
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "60",  # its 20 are too few where trainings take all cores
    "DVC_NO_ANALYTICS": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",  # it asks the package index for its newest version on import
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # without it MLflow walks through all installed packages whenever a model is logged
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    # the default spawns many workers that serve language models
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # a stage waits seconds for a server that is away and a minute or two for one that hangs: the flow adds later what is missing
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    # OpenMP's threads wait for each other spinning, 300,000 rounds by default; two processes on the same cores then stand still.
    # This many cost a lone training nothing and let two share: see benchmarks/shared_cores.py
    "GOMP_SPINCOUNT": "10000",
}


def apply() -> None:
    """Set the variables for this process and those it starts; call it before the tools are imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


if __name__ == "__main__":
    apply()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 no shell is what is wanted
