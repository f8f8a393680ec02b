"""`make serve`: the registry's champion over HTTP, at /v1/predict; whoever becomes champion answers from then on."""

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from flows import registry
from segmodels import console, device, params, service
from segmodels.batching import Served
from segmodels.errors import InputError
from segmodels.http_limits import Impatient
from segmodels.predict import Predictor
from segmodels.project import PARAMS, WORK

API_KEY = "SEGMODELS_API_KEY"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
AT_ONCE = {"cpu": 2, "cuda": 16}
KEPT = 2
"""Bundles: that which answers, and that before it, whose last requests are still being answered."""


class Champion:
    """Fetches the champion of a project whenever it is another than before."""

    def __init__(self, project: str, folder: Path) -> None:
        self.project, self.folder = project, folder
        self.version: str | None = None

    def __call__(self) -> Served | None:
        """The champion, ready to predict, if it is another than the last time.

        Raises:
            InputError: there is none yet.
            BundleError: its bundle is damaged.
        """
        version = registry.champion_version(self.project)
        if version is None:
            raise InputError(f"models:/{self.project} has no champion yet; `make retrain` makes one")
        if str(version.version) == self.version:
            return None
        held = registry.fetch(version, self.folder / str(version.version))
        predictor = Predictor(held, registry.backend_of(version, held))
        predictor.warm_up()
        self.version = str(version.version)
        self._forget_others()
        return Served(self.version, predictor)

    def _forget_others(self) -> None:
        others = sorted((one for one in self.folder.iterdir() if one.name != self.version), key=lambda one: one.stat().st_mtime)
        for one in others[: max(0, len(others) - KEPT + 1)]:
            shutil.rmtree(one, ignore_errors=True)


def serve(
    host: Annotated[str, typer.Option(help="The address to listen at; beyond this machine an API key is needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen at.", min=0, max=65535)] = 8808,
    at_once: Annotated[
        int | None, typer.Option(help="How many images are predicted together at most; 2 on a CPU, 16 on a GPU.", min=1)
    ] = None,
    waiting: Annotated[int, typer.Option(help="How many images may wait before others are refused (429).", min=1)] = 64,
    max_megabytes: Annotated[float, typer.Option(help="The longest body that is read.", min=0.001)] = 32.0,
    path: Annotated[Path, typer.Option("--params", help="The file that names the project.")] = PARAMS,
) -> None:
    """Answer images with masks: POST one to /v1/predict. SEGMODELS_API_KEY is what requests must then carry in X-API-Key."""
    with console.explained():
        settings, key = params.read(path), os.environ.get(API_KEY) or None
        if host not in LOOPBACK and key is None:
            raise InputError(
                f"--host: {host} can be reached by others; set {API_KEY} to what they must send in {service.KEY_HEADER}"
            )
        limits = service.Limits(
            max_bytes=int(max_megabytes * 1e6),
            max_pixels=int(settings.dataset.max_megapixels * 1e6),
            waiting=waiting,
            at_once=at_once or AT_ONCE[device.default().type],
        )
        app = service.build(
            Champion(settings.project, WORK / "served" / settings.project), limits=limits, api_key=key, say=console.say
        )
        console.say(f"http://{host}:{port}/v1/predict answers images with masks; /openapi.json says how")
        uvicorn.run(app, host=host, port=port, http=Impatient, log_level="warning", server_header=False, timeout_keep_alive=10)


if __name__ == "__main__":
    typer.run(serve)
