"""A bundle as an MLflow model: `mlflow.pyfunc.load_model("models:/<project>@champion").predict(image)` gives a mask.

MLflow keeps this file as the model's code ("models from code") and the bundle as its artifact: nothing is pickled.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np

from segmodels.bundle import load
from segmodels.predict import Predictor
from segmodels.samples import UInt8Array


class SegmentationModel(mlflow.pyfunc.PythonModel):
    """H x W x 3 uint8 RGB image of any size -> H x W uint8 mask of class indices."""

    def load_context(self, context: Any) -> None:
        self.predictor = Predictor(load(Path(context.artifacts["bundle"])))

    def predict(self, context: Any, model_input: UInt8Array, params: dict[str, Any] | None = None) -> UInt8Array:
        return self.predictor(np.ascontiguousarray(model_input))


mlflow.models.set_model(SegmentationModel())
