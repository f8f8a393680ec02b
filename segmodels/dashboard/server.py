"""Serves the dashboard: Streamlit's pages, and the images beside them, from one address."""

import threading
from pathlib import Path

import uvicorn
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from streamlit import config
from streamlit.starlette import App

from segmodels.dashboard import current, files

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_OPTIONS = {
    "browser.gatherUsageStats": False,
    "client.showErrorLinks": False,
    "client.toolbarMode": "viewer",  # what developers of pages are offered is none of a reader's
    "runner.magicEnabled": False,
    "server.headless": True,
    "server.fileWatcherType": "none",
    "server.maxUploadSize": 50,  # megabytes
    "theme.light.primaryColor": "#0072b2",
    "theme.dark.primaryColor": "#56b4e9",
}


def build(host: str) -> App:
    """The application. On this machine's own address it answers to no other name, which a page elsewhere might have for it."""
    for name, value in _OPTIONS.items():
        config.set_option(name, value)
    allowed = [*LOOPBACK, "[::1]"] if host in LOOPBACK else ["*"]
    return App(
        Path(__file__).with_name("app.py"),
        routes=files.routes(current.evaluated),
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=allowed)],
    )


def serve(host: str, port: int) -> None:
    """Answer until somebody ends it."""
    config.set_option("server.address", host)
    config.set_option("server.port", port)
    threading.Thread(target=current.warm, daemon=True).start()
    uvicorn.run(build(host), host=host, port=port, log_level="warning", server_header=False)
