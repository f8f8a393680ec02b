"""`make serve`, the program itself: the registry's champion answers, and the next one after it."""

import io
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from segmodels import tracking
from segmodels.service import VERSION_HEADER
from tests.conftest import PARAMS, REPOSITORY, clean_environment, free_port
from tests.pipeline.test_registry import Registry, models  # noqa: F401  a fixture
from tests.pipeline.test_service import RAW

PROGRAM = [sys.executable, "-m", "flows.serve"]


def project(folder: Path) -> Path:
    folder.mkdir()
    (folder / "params.yaml").write_text(PARAMS.replace("project: tiny", "project: p"))
    return folder


def seen(answer: httpx.Response) -> tuple[str, set[int]]:
    """The version that answered, and the classes of its mask."""
    assert answer.status_code == 200, answer.text
    return answer.headers[VERSION_HEADER], set(np.asarray(Image.open(io.BytesIO(answer.content))).reshape(-1).tolist())


@pytest.mark.slow
def test_the_champion_answers_and_then_the_next_one(models: Registry, tmp_path: Path) -> None:  # noqa: F811
    models.decide(1)
    port = free_port()
    environment = clean_environment(PYTHONPATH=str(REPOSITORY), MLFLOW_TRACKING_URI=tracking.uri())
    with (
        subprocess.Popen([*PROGRAM, "--port", str(port)], cwd=project(tmp_path / "serving"), env=environment) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        try:
            deadline = time.monotonic() + 120
            while not is_ready(client):
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.1)
            assert seen(client.post("/v1/predict", **RAW)) == ("1", {1})
            everything = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            listening = [one.laddr.ip for each in everything for one in each.net_connections("inet") if one.status == "LISTEN"]
            assert listening == ["127.0.0.1"]
            models.decide(0)
            while (found := seen(client.post("/v1/predict", **RAW))) == ("1", {1}):  # no request fails meanwhile
                assert time.monotonic() < deadline
            assert found == ("2", {0})
        finally:
            process.send_signal(signal.SIGINT)
        process.wait(60)
    _, alive = psutil.wait_procs(everything, timeout=10)
    assert all(one.status() == psutil.STATUS_ZOMBIE for one in alive)


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.ConnectError:
        return False


def test_beyond_this_machine_it_wants_a_key(tmp_path: Path) -> None:
    command = [*PROGRAM, "--host", "0.0.0.0"]
    environment = clean_environment(PYTHONPATH=str(REPOSITORY))
    done = subprocess.run(
        command, cwd=project(tmp_path / "p"), env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert "set SEGMODELS_API_KEY to what they must send in X-API-Key" in " ".join(done.stderr.split())
