"""Takes a picture of each page of the dashboard, into docs/, from the project in this folder, as `make demo` leaves it: `make screenshots`, with Debian's chromium."""

import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

PAGES = {
    "leaderboard": "",
    "compare": "compare",
    "failures": "failures",
    "data": "data",
    "retrains": "retrains",
    "model": "model",
}
WIDTH, TALLEST, COLORS = 1300, 2600, 200
PORT = 8599


def main() -> None:
    docs, browser = Path(__file__).parent, shutil.which("chromium")
    if browser is None:
        sys.exit("there is no chromium: apt-get install chromium")
    program = str(Path(sys.executable).with_name("segmodels"))
    with subprocess.Popen([program, "dashboard", "--port", str(PORT)]) as server:
        try:
            wait(server)
            with sync_playwright() as tools:
                window = tools.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-dev-shm-usage"])
                for name, path in PAGES.items():
                    page = window.new_page(viewport={"width": WIDTH, "height": 900})
                    page.goto(f"http://127.0.0.1:{PORT}/{path}")
                    page.wait_for_selector("h1")
                    page.wait_for_timeout(4000)  # charts and pictures come after the page
                    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
                    page.set_viewport_size({"width": WIDTH, "height": min(height, TALLEST)})
                    page.wait_for_timeout(1500)
                    target = docs / f"dashboard-{name}.png"
                    page.screenshot(path=target)
                    Image.open(target).convert("RGB").quantize(COLORS).save(target, optimize=True)
                    print(target)
        finally:
            server.terminate()


def wait(server: "subprocess.Popen[bytes]") -> None:
    while server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/_stcore/health", timeout=5)
            return
        except OSError:
            time.sleep(0.2)
    sys.exit("the dashboard has ended")


if __name__ == "__main__":
    main()
