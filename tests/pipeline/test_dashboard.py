"""The dashboard in a browser, on a real small retraining: what every page shows is what the reports say, and nothing complains."""

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Locator, Page, Request, Response, expect, sync_playwright

from segmodels import shapes
from segmodels.dataset import open_dataset
from segmodels.samples import ImageKind, Part
from segmodels.store import Store
from tests import comparisons
from tests.conftest import PARAMS, clean_environment, free_port, make_project, prepared_at
from tests.pipeline.projects import Project

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
HOSTILE_CLASS, HOSTILE_FILE = "<img src=x onerror=alert(1)> ü $x$ `y`", "a<b>'&[link](javascript:alert(1)) ü"
# how Streamlit finds out below which path it is served, from an address that is not the first page's
PROBED = re.compile(r"/\w+/_stcore/(health|host-config)$")
PAGES = ("", "compare", "failures", "data", "retrains", "model")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium")]


def drawn_with_hostile_names(folder: Path) -> Path:
    """The demo's dataset with a class and images whose names are made to do harm."""
    shapes.write(folder, count=24, size_px=(48, 64), seed=0)
    facts = json.loads((folder / "classes.json").read_text())
    facts["classes"][2]["name"] = HOSTILE_CLASS
    (folder / "classes.json").write_text(json.dumps(facts))
    for path in sorted(folder.glob("*/*.png")):
        path.rename(path.with_stem(f"{HOSTILE_FILE} {path.stem}"))
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("dashboard")
    made = Project(make_project(folder / "project", PARAMS.replace("epochs: 2", "epochs: 4")))
    made.make("data", f"SOURCE={drawn_with_hostile_names(folder / 'drawn')}", "FORMAT=folder")
    made.make("retrain")
    return made


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The dashboard of a project; yields its address."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("segmodels")), "dashboard", "--port", str(port)]
    process = subprocess.Popen(command, cwd=folder, env=clean_environment(), stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not answers(f"http://127.0.0.1:{port}"):
            assert process.poll() is None and time.monotonic() < until, "the dashboard does not answer"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def address(project: Project) -> Iterator[str]:
    with served(project.folder) as address:
        yield address


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page; when the test is over, whatever it complained of is a failure."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(30_000)
    said: list[str] = []

    def answered(answer: Response) -> None:
        if answer.status >= 400 and not PROBED.search(answer.url.split("?")[0]):
            said.append(f"{answer.status} {answer.url}")

    def asked(request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            said.append(f"asked {request.url}")

    def told(message: ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:  # `answered` has that, with its address
            said.append(message.text)

    def alerted(dialog: Dialog) -> None:
        said.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("response", answered)
    page.on("request", asked)
    page.on("console", told)
    page.on("dialog", alerted)
    yield page
    boxes = page.get_by_test_id("stException").all_inner_texts()
    page.close()
    assert said + boxes == []


def opened(page: Page, address: str) -> Page:
    page.goto(address)
    expect(page.locator("h1")).to_be_visible()
    return page


def shown(page: Page, name: str) -> str:
    """The value beside a name."""
    return page.get_by_test_id("stMetric").filter(has_text=name).get_by_test_id("stMetricValue").inner_text()


def viewer(page: Page) -> dict[str, str]:
    """Which image the viewer shows, once it does."""
    root = page.locator(".viewer[data-state=shown]")
    expect(root).to_be_visible()
    return {
        "name": root.locator(".name").inner_text(),
        "row": str(root.get_attribute("data-row")),
        "note": root.locator(".note").inner_text(),
    }


def test_the_leaderboard_shows_what_was_compared(project: Project, address: str, page: Page) -> None:
    opened(page, address)
    best = project.leaderboard["candidates"][0]
    assert shown(page, "Best test mIoU") == f"{best['miou']:.4f}"
    assert shown(page, "Put forward") == shown(page, "Champion among them") == project.leaderboard["chosen"]
    expect(page.get_by_text(project.leaderboard["reason"].split(",")[0][:40]).first).to_be_visible()
    names = page.locator(".js-plotly-plot").first.locator(".ytick text")
    expect(names.first).to_be_visible()
    drawn = [name.removesuffix(" (champion)") for name in names.all_text_contents() if name]
    assert drawn == [one["name"] for one in project.leaderboard["candidates"]]
    page.get_by_text("parameters", exact=True).click()
    expect(page).to_have_url(re.compile("cost=parameters"))


def test_filters_stand_in_the_address_and_leave_out_the_rest(project: Project, address: str, page: Page) -> None:
    opened(page, address)
    rest = next(
        one["name"] for one in project.leaderboard["candidates"] if one["name"] != project.leaderboard["candidates"][0]["name"]
    )
    page.get_by_test_id("stMultiSelect").locator("input").fill(rest)
    page.get_by_role("option", name=rest, exact=True).click()
    expect(page.get_by_test_id("stMetricValue").first).to_have_text(f"{project.leaderboard['candidates'][1]['miou']:.4f}")
    expect(page).to_have_url(re.compile(f"only={rest}"))
    page.reload()
    expect(page.get_by_test_id("stMetricValue").first).to_have_text(f"{project.leaderboard['candidates'][1]['miou']:.4f}")


def test_what_is_confused_is_gone_through_image_by_image(project: Project, address: str, page: Page) -> None:
    name = project.leaderboard["chosen"]
    cells = pd.read_parquet(project.folder / "data" / "evaluated" / name / "confusions.parquet")
    totals = cells.groupby(["truth", "predicted"], as_index=False)["num_pixels"].agg(["sum", "max"])
    truth, predicted, _, most = totals.sort_values("sum").iloc[-1].tolist()
    opened(page, f"{address}/failures?pair={truth}-{predicted}")
    expect(page.get_by_text("Images of what was chosen")).to_be_visible()
    assert viewer(page)["note"].startswith(f"{most} pixels, 1 of ")
    other = next(one["name"] for one in project.leaderboard["candidates"] if one["name"] != name)
    opened(page, f"{address}/compare?a={name}&b={other}&pair_a={truth}-{predicted}")
    count = cells[(cells["truth"] == truth) & (cells["predicted"] == predicted)]["row"].nunique()
    expect(page.get_by_text(f"in {count} images, most pixels first")).to_be_visible()


def test_a_view_has_an_address_that_brings_it_back(address: str, page: Page, browser: Browser) -> None:
    opened(page, f"{address}/failures")
    first = viewer(page)
    page.locator(".viewer").press("j")
    expect(page).to_have_url(re.compile(r"image=\d+"))
    second = viewer(page)
    assert second["row"] != first["row"] and second["note"].endswith(re.findall(r"2 of \d+", second["note"])[-1])
    again = browser.new_page()
    opened(again, page.url)
    assert viewer(again)["row"] == second["row"]
    again.close()
    page.locator(".viewer").press("k")
    expect(page.locator(f".viewer[data-row='{first['row']}']")).to_be_visible()


def test_who_goes_on_fast_is_not_taken_back_and_another_order_begins_at_its_first(address: str, page: Page) -> None:
    opened(page, f"{address}/compare")
    viewer(page)
    for _ in range(3):
        page.locator(".viewer").press("j")
    page.wait_for_timeout(4000)  # the page has run for each of them
    assert re.search(r", 4 of \d+$", viewer(page)["note"])
    page.get_by_text("B better", exact=True).click()
    expect(page.locator(".viewer .note")).to_have_text(re.compile(r", 1 of \d+$"))
    assert "image=" not in page.url


def test_two_candidates_are_compared_image_by_image(project: Project, address: str, page: Page) -> None:
    opened(page, f"{address}/compare")
    first, second = project.leaderboard["candidates"]
    gain = 100 * (first["miou"] - second["miou"])
    assert float(shown(page, "A less B, points of mIoU")) == pytest.approx(gain, abs=0.006)
    now = viewer(page)
    assert re.match(r"A \d\.\d{3}, B \d\.\d{3}, 1 of \d+", now["note"])
    titles = page.locator(".viewer .pane .title").all_inner_texts()
    assert titles == [
        "image",
        first["name"],
        f"errors of {first['name']}",
        "truth",
        second["name"],
        f"errors of {second['name']}",
    ]
    # what is wrong is vermilion, and what each pane shows is another picture
    pixels = "all => all.map(c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].join())"
    image, predicted, wrong, *others = page.locator(".viewer canvas").evaluate_all(pixels)
    assert "213,94,0,255" in wrong and "213,94,0,255" not in image and len({image, predicted, wrong, *others}) == 6
    opened(page, f"{address}/compare?a={second['name']}&b={first['name']}")
    expect(page.get_by_test_id("stMetricValue").first).to_have_text(re.compile(r"\d"))
    assert float(shown(page, "A less B, points of mIoU")) == pytest.approx(-gain, abs=0.006)


def test_zoom_is_kept_when_the_image_changes_and_all_panes_move_together(address: str, page: Page) -> None:
    opened(page, f"{address}/failures")
    viewer(page)
    canvas = page.locator(".viewer canvas").first
    canvas.click()
    canvas.hover()
    page.mouse.wheel(0, -600)
    zooms = "() => [...document.querySelectorAll('*')].map(e => e.shadowRoot?.querySelector('.viewer')?.view?.zoom).find(Boolean)"
    page.wait_for_function(f"({zooms})() > 2")
    zoom = page.evaluate(zooms)
    sizes = page.locator(".viewer canvas").evaluate_all("all => all.map(c => c.fits)")
    assert len({round(size, 6) for size in sizes}) == 1 < len(sizes)
    page.locator(".viewer").press("j")
    expect(page).to_have_url(re.compile(r"image=\d+"))
    assert page.evaluate(zooms) == zoom
    page.locator(".viewer").press("0")
    assert page.evaluate(zooms) == 1


@pytest.mark.parametrize("split", ["test", "val", "train"])
def test_images_of_every_split_are_shown_with_their_labels(project: Project, address: str, page: Page, split: Part) -> None:
    opened(page, f"{address}/data?split={split}")
    store = Store(project.folder / "data" / "prepared")
    ids = sorted(str(store.manifest["id"].iloc[row]) for row in store.rows(split))
    assert viewer(page)["name"] == ids[0]
    assert len(shown_colors(page.locator(".viewer[data-state=shown] canvas").nth(1))) > 1


def test_names_made_to_do_harm_are_text(project: Project, address: str, page: Page) -> None:
    opened(page, f"{address}/data")
    expect(page.locator(".viewer .legend")).to_contain_text(HOSTILE_CLASS)
    opened(page, f"{address}/failures")
    names = set()
    count = int(viewer(page)["note"].rsplit(" ", 1)[1])
    for _ in range(count):
        names.add(viewer(page)["name"])
        page.locator(".viewer").press("j")
        page.wait_for_timeout(150)
    assert len(names) == count and all(one.startswith(HOSTILE_FILE) for one in names)
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("name", PAGES)
def test_every_page_opens_in_the_dark_too_and_on_a_narrow_screen(browser: Browser, address: str, name: str) -> None:
    page = browser.new_page(viewport={"width": 420, "height": 900}, color_scheme="dark")
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    opened(page, f"{address}/{name}")
    page.wait_for_timeout(1500)
    assert page.get_by_test_id("stException").count() == 0 and errors == []
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    page.close()
    assert overflow <= 0


def test_a_retraining_is_told_with_its_receipt_and_the_version_with_its_lineage(
    project: Project, address: str, page: Page
) -> None:
    opened(page, f"{address}/retrains")
    expect(page.get_by_text("is the first champion").first).to_be_visible()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the receipt as HTML").click()
    receipt = Path(saved.value.path()).read_text(encoding="utf-8")
    assert "tiny version 1: promote" in receipt and project.leaderboard["test_sha256"] in receipt
    opened(page, f"{address}/model")
    scores = json.loads((project.folder / "reports" / project.leaderboard["chosen"] / "scores.json").read_text())
    assert shown(page, "Test mIoU") == f"{scores['miou']:.4f}"
    expect(page.get_by_text('mlflow.pyfunc.load_model("models:/tiny@champion")')).to_be_visible()


def test_a_version_is_tried_on_an_image_of_ones_own(project: Project, address: str, page: Page, tmp_path: Path) -> None:
    opened(page, f"{address}/model")
    own = sorted((project.folder / "data" / "raw" / "images").iterdir())[0]
    (tmp_path / "no image.png").write_bytes(b"no image")
    for path, told in ((tmp_path / "no image.png", "this does not begin as PNG"), (own, "with the mask over it")):
        page.locator("input[type=file]").set_input_files(path)
        expect(page.get_by_text(told)).to_be_visible(timeout=120_000)


def test_an_image_is_seen_through_every_champion(address: str, page: Page) -> None:
    opened(page, f"{address}/retrains?machine=true")
    expect(page.get_by_text("version 1", exact=True)).to_be_visible(timeout=120_000)
    assert page.get_by_test_id("stImage").count() == 2


def test_it_answers_to_no_other_name_and_before_anything_was_compared_says_what_to_do(
    address: str, browser: Browser, tmp_path: Path
) -> None:
    asked = urllib.request.Request(f"{address}/_stcore/health", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(asked, timeout=10)
    with served(make_project(tmp_path / "empty", PARAMS)) as empty:
        page = browser.new_page()
        for name in PAGES:
            opened(page, f"{empty}/{name}")
            expect(page.get_by_text("make demo").first).to_be_visible()
            assert page.get_by_test_id("stException").count() == 0
        page.close()


SHAPES = ((24, 60), (24, 2100), (2100, 24))
"""Heights and widths; of the long ones every second pixel is shown."""


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The dashboard of images of 16 bits in one channel, some of them long, whose classes overlap; candidates are right, or see nothing."""
    root = tmp_path_factory.mktemp("overlapping")
    rng = np.random.default_rng(0)
    for name in ("images", "masks/left", "masks/middle"):
        (root / "drawn" / name).mkdir(parents=True)
    for number in range(12):
        size = SHAPES[number % 3]
        masks = {name: np.zeros(size, np.uint8) for name in ("left", "middle")}
        masks["left"][:, : size[1] // 2] = masks["middle"][:, size[1] // 4 : size[1] // 4 * 3] = 255
        tifffile.imwrite(root / "drawn" / "images" / f"{number}.tif", rng.integers(900, 1100, size).astype(np.uint16))
        for name, mask in masks.items():
            Image.fromarray(mask).save(root / "drawn" / "masks" / name / f"{number}.png")
    folder = make_project(root / "project", PARAMS)
    dataset = open_dataset(root / "drawn", kind=ImageKind(1, 16))
    prepared = prepared_at(dataset, folder / "data" / "prepared", method="random")
    _, reports = comparisons.write(prepared, folder / "data", {"right": lambda truth: truth, "nothing": np.zeros_like})
    reports.rename(folder / "reports")
    with served(folder) as address:
        yield address


def test_images_of_other_kinds_whose_classes_overlap_are_shown_class_by_class(overlapping: str, page: Page) -> None:
    opened(page, f"{overlapping}/failures?candidate=nothing")
    expect(page.get_by_text("Most confused")).to_have_count(0)  # what is one class may be another as well
    panes = page.locator(".viewer canvas")
    sky_blue, orange, vermilion = "86,180,233,255", "230,159,0,255", "213,94,0,255"
    for name, color in (("left", sky_blue), ("middle", orange)):
        page.locator(".viewer select").select_option(name)
        page.locator(".viewer[data-state=shown]").get_by_label("labels").fill("1")
        assert shown_colors(panes.nth(1)) >= {color}  # the truth
        assert color not in shown_colors(panes.nth(2)) and vermilion in shown_colors(panes.nth(3))  # which "nothing" misses
    gray = shown_colors(panes.nth(0))
    assert len(gray) > 20  # 16 bits are stretched, so that people see something


@pytest.mark.parametrize("size", SHAPES[1:])
def test_a_pixel_of_a_long_image_is_told_where_it_is(overlapping: str, page: Page, size: tuple[int, int]) -> None:
    opened(page, f"{overlapping}/failures?candidate=nothing")
    shown = page.locator(".viewer[data-state=shown] canvas")
    for _ in range(12):
        if shown.first.evaluate("c => [c.sheet.height, c.sheet.width]") == [side // 2 for side in size]:
            break
        page.locator(".viewer").press("j")
    width, height = shown.nth(1).evaluate("c => [c.offsetWidth, c.offsetHeight]")
    # once it stands still: the page may be drawn anew meanwhile
    shown.nth(1).hover(position={"x": 0.4 * width, "y": 0.4 * height})
    under, says = page.locator(".viewer .under"), re.compile(r"x (\d+), y (\d+) .* truth: left .* nothing: not left")
    expect(under).to_have_text(says)
    told = says.match(under.inner_text())
    assert told is not None
    for found, side in zip(told.groups(), size[::-1], strict=True):
        assert int(found) % 2 == 0 and int(found) == pytest.approx(0.4 * side, abs=max(6, 0.02 * side))


def shown_colors(canvas: Locator) -> set[str]:
    """The colours in a pane, as `red,green,blue,alpha`."""
    pixels = "c => [...new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer))]"
    return {",".join(str(value >> shift & 255) for shift in (0, 8, 16, 24)) for value in canvas.evaluate(pixels)}


def test_beyond_this_machine_it_is_not_opened_without_a_password(project: Project) -> None:
    said = project.segmodels("dashboard", "--host", "0.0.0.0", code=2)
    assert "--host: 0.0.0.0 can be reached by others" in said and "ssh -L" in said
