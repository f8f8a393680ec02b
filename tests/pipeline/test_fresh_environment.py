"""A registered champion predicts where nothing is installed but what it declares."""

import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest

from segmodels import tracking
from tests.conftest import clean_environment
from tests.pipeline.test_registry import Registry, models, save_constant  # noqa: F401  a fixture

PREDICTING = """
import sys
import mlflow, numpy
image = numpy.zeros((40, 70, 3), numpy.uint8)
numpy.save(sys.argv[2], mlflow.pyfunc.load_model(sys.argv[1]).predict(image))
"""


@pytest.mark.slow
def test_the_champion_predicts_with_what_it_declares(models: Registry, tmp_path: Path) -> None:  # noqa: F811
    # on OpenVINO, as a CPU serves it: that needs more than torch does
    save_constant(tmp_path / "all_1_of_5", 1, models.store.classes, export="onnx")
    models.decide(1, backend="openvino")
    mlflow.set_tracking_uri(tracking.uri())
    folder = Path(mlflow.artifacts.download_artifacts("models:/p@champion", dst_path=str(tmp_path / "model")))
    python = tmp_path / "environment" / "bin" / "python"
    uv = str(Path(sys.executable).with_name("uv"))
    for command in (
        [uv, "venv", "-q", "--python", sys.executable, str(tmp_path / "environment")],
        [uv, "pip", "install", "-q", "--python", str(python), "-r", str(folder / "requirements.txt")],
        [str(python), "-c", PREDICTING, str(folder), str(tmp_path / "mask.npy")],
    ):
        done = subprocess.run(
            command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    mask = np.load(tmp_path / "mask.npy")
    assert mask.shape == (40, 70) and (mask == 1).all()
