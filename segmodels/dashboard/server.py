"""Serves the dashboard: Streamlit's pages, and the images beside them, from one address."""

import threading
from pathlib import Path

import uvicorn
from starlette.middleware import Middleware
from streamlit import config
from streamlit.starlette import App

from segmodels.dashboard import current, files
from segmodels.dashboard.origins import OwnPagesOnly

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_OPTIONS = {
    "browser.gatherUsageStats": False,
    "client.showErrorLinks": False,
    "client.toolbarMode": "viewer",  # what developers of pages are offered is none of a reader's
    "runner.magicEnabled": False,
    "server.enableAgentApi": False,
    "server.enableCORS": True,  # whatever a person's own settings of Streamlit say
    "server.enableXsrfProtection": True,
    "server.headless": True,
    "server.fileWatcherType": "none",
    "server.maxUploadSize": 50,  # megabytes
    "theme.light.primaryColor": "#0072b2",
    "theme.dark.primaryColor": "#56b4e9",
}


def build() -> App:
    """The application."""
    for name, value in _OPTIONS.items():
        config.set_option(name, value)
    return App(
        Path(__file__).with_name("app.py"),
        routes=files.routes(current.evaluated),
        middleware=[Middleware(OwnPagesOnly, hosts=LOOPBACK)],
    )


def serve(host: str, port: int) -> None:
    """Answer until somebody ends it."""
    config.set_option("server.address", host)
    config.set_option("server.port", port)
    threading.Thread(target=current.warm, daemon=True).start()
    uvicorn.run(build(), host=host, port=port, log_level="warning", server_header=False)
