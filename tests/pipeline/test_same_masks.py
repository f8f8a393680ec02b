"""One bundle by every way there is to it: predict on each backend, MLflow's pyfunc, `mlflow models serve` and `make serve`."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pytest
from PIL import Image

from flows import promotion
from segmodels import augment, backends, bundle, shapes, tracking
from segmodels.images import read_image
from segmodels.predict import Predictor
from segmodels.samples import trained as learned
from segmodels.scoring import score
from tests.conftest import REPOSITORY, clean_environment, free_port
from tests.pipeline.test_registry import OPEN, Registry, models  # noqa: F401  a fixture
from tests.pipeline.test_serve import PROGRAM, project
from tests.pipeline.trainings import SIZE, trained

COUNT = 20


@pytest.fixture
def champion(models: Registry, tmp_path: Path) -> bundle.Bundle:  # noqa: F811
    """A network that has learned something, champion of the registry, served by OpenVINO."""
    augment.augment(models.prepared, tmp_path / "light", recipe="light", options={}, size_px=SIZE, seed=0)
    trained(models.prepared, tmp_path / "light", tmp_path / "psp", epochs=25, export="onnx")
    loaded = bundle.load(tmp_path / "psp" / "bundle")
    score(models.store, Predictor(loaded)).to_parquet(tmp_path / "images.parquet")
    experiment = models.client.create_experiment("p")
    case = promotion.Case(
        "p",
        best={
            "name": "psp",
            "miou": 0.5,
            "pixel_accuracy": 0.9,
            "num_images": 9,
            "classes": [{"name": one.name, "iou": 0.5, "num_images": 1} for one in learned(loaded.classes)],
            "bundle_sha256": loaded.sha256,
            "backend": "openvino",
            "precision": "fp32",
        },
        test_sha256=models.store.digest("test"),
        settings=OPEN,
        bundle_folder=loaded.folder,
        prepared=models.prepared,
        counted=tmp_path,
        reports=tmp_path / "reports",
        run_id=models.client.create_run(experiment).info.run_id,
        made_from=None,
        today=date(2026, 1, 1),
    )
    assert promotion.decide(case).outcome == "promote"
    return loaded


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Of sizes that no training image had."""
    (tmp_path / "pictures").mkdir()
    found = []
    for number in range(COUNT):
        path = tmp_path / "pictures" / f"{number}.png"
        Image.fromarray(shapes.draw(size_px=(40 + number, 90 - number), seed=1000 + number).image).save(path)
        found.append(path)
    return found


def answers(
    command: list[str], folder: Path, url: str, is_up: str, ask: Callable[[httpx.Client], list[np.ndarray]]
) -> list[np.ndarray]:
    """What a server answers that is started for it."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # MLflow starts uvicorn by its name
    environment = clean_environment(PYTHONPATH=str(REPOSITORY), MLFLOW_TRACKING_URI=tracking.uri(), PATH=programs)
    with (
        subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True) as process,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        try:
            deadline = time.monotonic() + 180
            while True:
                assert time.monotonic() < deadline and process.poll() is None
                try:
                    if client.get(is_up).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.2)
            return ask(client)
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)


@pytest.mark.slow
def test_the_same_images_give_the_same_masks(
    champion: bundle.Bundle, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [read_image(path) for path in pictures]
    expected = [Predictor(champion, backends.load(champion, "openvino", precision="fp32"))(image) for image in images]
    assert len({int(value) for mask in expected for value in np.unique(mask)}) > 1  # it tells something apart
    for backend in backends.NAMES:
        found = [Predictor(champion, backends.load(champion, backend, precision="fp32"))(image) for image in images]
        same = np.mean([np.mean(one == other) for one, other in zip(found, expected, strict=True)])
        assert same > 0.999, backend  # those that rounding decides

    def equal(found: list[np.ndarray]) -> bool:
        return all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    mlflow.set_tracking_uri(tracking.uri())
    model = mlflow.pyfunc.load_model("models:/p@champion")
    assert equal([model.predict(image) for image in images])

    def of_mlflow(client: httpx.Client) -> list[np.ndarray]:
        told: list[Any] = [
            client.post("/invocations", json={"inputs": image.tolist()}).raise_for_status().json() for image in images
        ]
        return [np.array(one["predictions"], np.uint8) for one in told]

    port = free_port()
    serve = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/p@champion", "--env-manager", "local"]
    assert equal(answers([*serve, "--port", str(port)], tmp_path, f"http://127.0.0.1:{port}", "/ping", of_mlflow))

    def of_ours(client: httpx.Client) -> list[np.ndarray]:
        told = [client.post("/v1/predict", content=path.read_bytes()).raise_for_status().content for path in pictures]
        return [np.asarray(Image.open(io.BytesIO(one))) for one in told]

    port = free_port()
    assert equal(
        answers([*PROGRAM, "--port", str(port)], project(tmp_path / "s"), f"http://127.0.0.1:{port}", "/readyz", of_ours)
    )
