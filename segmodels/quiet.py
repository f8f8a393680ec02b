"""Nothing leaves the machine by itself: the telemetry, update checks and needless chatter of the tools used are off by default.

A person who wants one of them on sets its variable; what is set already stays.
"""

import os

ENVIRONMENT = {
    "DO_NOT_TRACK": "true",  # MLflow accepts only this word
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",  # it asks the package index for its newest version on import
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # without it MLflow walks through all installed packages whenever a model is logged
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    # the default spawns many workers that serve language models
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


def apply() -> None:
    """Set the variables for this process and those it starts; call it before the tools are imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
