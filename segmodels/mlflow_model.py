"""A bundle as an MLflow model: `mlflow.pyfunc.load_model("models:/<project>@champion").predict(image)` gives a mask.

MLflow keeps this file as the model's code ("models from code") and the bundle as its artifact: nothing is pickled.
"""

from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from segmodels import backends
from segmodels.bundle import load
from segmodels.predict import Predictor


class SegmentationModel(PythonModel):
    """An image of any size, H x W x channels as the bundle knows them (uint8 RGB mostly) -> H x W uint8 mask of class indices; C x H x W of 0 and 1 where classes overlap."""

    def load_context(self, context: Any) -> None:
        bundle = load(Path(context.artifacts["bundle"]))
        chosen = context.model_config
        self.predictor = Predictor(bundle, backends.load(bundle, chosen["backend"], precision=chosen["precision"]))

    # of types MLflow makes a schema, but for the plain `np.ndarray`; the true schema is given when the model is logged
    def predict(self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None) -> np.ndarray:
        mask: np.ndarray = self.predictor(np.ascontiguousarray(model_input))
        return mask


set_model(SegmentationModel())
