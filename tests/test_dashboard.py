"""What the dashboard shows, without a browser: how candidates differ, what is confused, the charts' values, the images beside the pages."""

import io
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from segmodels import compared, report
from segmodels.compared import Folders
from segmodels.dashboard import charts, files, palette, receipts
from segmodels.dashboard.evaluated import SEEN, Evaluated, groups
from segmodels.dashboard.fresh import Fresh
from segmodels.dashboard.origins import OwnPagesOnly
from segmodels.dataset import open_dataset
from segmodels.errors import InputError
from segmodels.samples import OKABE_ITO, UInt8Array
from tests import comparisons
from tests.conftest import prepared_at

HOSTILE = "<img src=x onerror=alert(1)>/../..\\'\"ü"


def right(truth: UInt8Array) -> UInt8Array:
    return truth


def background(truth: UInt8Array) -> UInt8Array:
    """Class 0 everywhere."""
    return np.zeros_like(truth)


@pytest.fixture(scope="module")
def evaluated(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """Two candidates: one that is always right, one that sees nothing but background."""
    folder = tmp_path_factory.mktemp("compared")
    return Evaluated(prepared, *comparisons.write(prepared, folder, {"right": right, "nothing": background}))


def test_images_of_which_two_candidates_differ_most_come_first(evaluated: Evaluated) -> None:
    found = evaluated.flips("right", "nothing")
    assert (found["one"] == 1).all() and (found["difference"] == 1 - found["other"]).all()
    assert found["difference"].is_monotonic_decreasing and len(found) == len(evaluated.store.rows("test"))
    back = evaluated.flips("nothing", "right")
    assert back["difference"].tolist() == (-found["difference"]).tolist() and back["id"].tolist() == found["id"].tolist()
    gain, by_class = evaluated.changes("right", "nothing")
    entry = evaluated.entry("nothing")
    assert gain.difference == pytest.approx(1 - entry["miou"]) and gain.low > 0
    assert {one.what: one.difference for one in by_class} == pytest.approx(
        {name: 1 - iou for name, iou in zip(evaluated.class_names, entry["iou"], strict=True)}
    )


def test_what_is_confused_is_counted_from_the_masks(evaluated: Evaluated) -> None:
    assert evaluated.confused("right").empty
    found = evaluated.confused("nothing")
    assert set(found["predicted"]) == {evaluated.class_names[0]} and (found["share"] == 1).all()
    pixels = dict.fromkeys(evaluated.class_names, 0)
    showing = set()
    for row in evaluated.store.rows("test"):
        truth = evaluated.truth(row)
        for index, name in enumerate(evaluated.class_names):
            pixels[name] += int((truth == index).sum())
        if (truth == 1).any():
            showing.add(row)
    assert {one.truth: one.num_pixels for one in found.itertuples()} == {
        name: count for name, count in pixels.items() if name != evaluated.class_names[0]
    }
    images = evaluated.showing("nothing", 1, 0)
    assert set(images["row"]) == showing and images["num_pixels"].is_monotonic_decreasing
    worst = evaluated.worst("nothing")
    assert worst["miou"].is_monotonic_increasing
    row = int(worst["row"].iloc[0])
    assert worst["wrong_pixels"].iloc[0] == (evaluated.truth(row) != 0).sum()
    assert set(evaluated.worst("right")["most_wrong"]) == {"none"} and not evaluated.worst("right")["wrong_pixels"].any()


def test_nothing_but_what_was_compared_is_found(evaluated: Evaluated, tmp_path: Path) -> None:
    for name in ("other", "../right", HOSTILE):
        with pytest.raises(InputError, match="is none of the candidates that were compared: right, nothing"):
            evaluated.labelling(name, evaluated.store.rows("test")[0])
    with pytest.raises(InputError, match="is none of the test images"):
        evaluated.labelling("right", evaluated.store.rows("train")[0])
    for row in (-1, len(evaluated.store.manifest)):
        with pytest.raises(InputError, match="is none of the images that are shown"):
            evaluated.picture(row)
    with pytest.raises(InputError, match="no candidate was compared yet; run `make retrain`, or `make demo`"):
        Evaluated(evaluated.store.folder, evaluated.folder, tmp_path)


def test_of_the_vault_nothing_is_shown(evaluated: Evaluated) -> None:
    apart = Evaluated(evaluated.store.folder, evaluated.folder, evaluated.reports)
    kept = apart.store.manifest["split"].tolist().index("val")
    apart.store.manifest.loc[kept, "split"] = "vault"
    for look in (apart.picture, apart.truth, apart.size):
        with pytest.raises(InputError, match="is none of the images that are shown"):
            look(kept)
    listed = [row for split in SEEN for row in apart.images_of(split)["row"]]
    assert sorted([*listed, kept]) == list(range(len(apart.store.manifest)))


def test_a_comparison_of_other_images_is_not_shown_as_one_of_these(evaluated: Evaluated, drawn: Path, tmp_path: Path) -> None:
    other = prepared_at(open_dataset(drawn), tmp_path / "other", seed=5)
    with pytest.raises(InputError, match="the last comparison was on another dataset than is prepared now"):
        Evaluated(other, evaluated.folder, evaluated.reports)


def test_what_was_compared_is_kept_though_all_else_goes(evaluated: Evaluated, tmp_path: Path) -> None:
    (tmp_path / "facts").mkdir()
    now = Folders(evaluated.store.folder, evaluated.folder, evaluated.reports, tmp_path / "facts")
    compared.keep(now, tmp_path / "kept")
    there = compared.kept(tmp_path / "kept")
    kept = Evaluated(there.prepared, there.evaluated, there.reports)
    assert kept.version == evaluated.version and kept.leaderboard == evaluated.leaderboard
    row = kept.store.rows("test")[0]
    assert (kept.picture(row) == evaluated.picture(row)).all() and (kept.labelling("nothing", row) == 0).all()
    shards = [path for path in (tmp_path / "kept" / "prepared").iterdir() if path.suffix == ".bin"]
    assert shards and all(path.stat().st_nlink > 1 for path in shards)  # they take no room of their own


def test_candidates_that_chance_alone_tells_apart_are_joined() -> None:
    def pair(first: str, second: str, p: float | None) -> dict[str, object]:
        return {"first": first, "second": second, "p": p}

    told = [pair("a", "b", 0.9), pair("a", "c", 0.2), pair("b", "c", 0.01), pair("c", "d", 0.05), pair("b", "d", None)]
    # a with b, and with c; but b and c differ; c and d just do not; b and d were not compared
    assert groups(["a", "b", "c", "d"], told) == [["a", "b"], ["a", "c"], ["c", "d"]]
    assert groups(["a", "b"], [pair("a", "b", 0.049)]) == []
    assert groups(["d", "c"], told) == [["d", "c"]]  # of a part of them, in its order


def test_colours_are_those_of_okabe_and_ito_and_beyond_them_all_differ() -> None:
    assert palette.of_classes(7) == list(OKABE_ITO)
    many = palette.of_classes(150)
    assert len(set(many)) == 150 and palette.of_classes(200)[:150] == many  # by its index alone
    assert palette.css((0, 114, 178)) == "#0072b2"


def test_charts_show_the_leaderboards_numbers(evaluated: Evaluated) -> None:
    ranked = evaluated.leaderboard["candidates"]
    figure = charts.leaderboard(ranked, [["right", "nothing"]], {"right": "champion"})
    assert list(figure.data[0].x) == [one["miou"] for one in ranked] and list(figure.data[0].y) == ["right", "nothing"]
    reach = figure.data[0].error_x
    assert list(reach.array) == [max(0, one["miou_high"] - one["miou"]) for one in ranked]
    assert list(reach.arrayminus) == [max(0, one["miou"] - one["miou_low"]) for one in ranked]
    assert figure.layout.yaxis.ticktext == ("<b>right</b> (champion)", "nothing")
    heat = charts.classes(ranked, evaluated.class_names).data[0]
    assert np.allclose(np.array(heat.z, float), [one["iou"] for one in ranked])
    pareto = charts.pareto(ranked, evaluated.leaderboard["fronts"]["latency_ms"], "latency_ms", {})
    assert list(pareto.data[1].x) == [5, 10] and list(pareto.data[0].x) == [5]  # who is right is faster too
    cells = charts.confusion(evaluated.scores("nothing")["confusion"], evaluated.class_names)
    assert np.asarray(cells.data[0].z)[:, 0].tolist() == [1.0] * len(evaluated.class_names)
    assert list(cells.data[1].customdata[3]) == [0, 3]


def test_the_ticks_of_a_logarithmic_axis_are_round_and_enclose_what_is_shown() -> None:
    assert charts.log_ticks([4.5, 8.7]) == [4, 5, 6, 8, 10]
    assert charts.log_ticks([3, 700]) == [2, 5, 10, 20, 50, 100, 200, 500, 1000]
    assert charts.log_ticks([1.0]) == [1]


def test_names_are_text_in_charts_and_in_receipts(evaluated: Evaluated) -> None:
    named = [one | {"name": HOSTILE} for one in evaluated.leaderboard["candidates"][:1]]
    told = str(charts.leaderboard(named, [], {HOSTILE: "champion"}).layout.yaxis.ticktext)
    assert "<img" not in told and "&lt;img" in told
    gain = {"what": HOSTILE, "difference": 0.1, "low": 0.05, "high": 0.2}
    receipt = {
        "project": HOSTILE,
        "version": "2",
        "champion": "1",
        "outcome": "promote",
        "reason": HOSTILE,
        "gain": gain,
        "classes": [gain | {"low": -0.4, "high": -0.1, "difference": -0.2}],
        "slices": [],
        "clusters": 9,
        "times": 9.5,
        "times_needed": 9.0,
        "worse": 0,
        "better": 1,
        "detectable": None,
        "vault": None,
        "regressions": [{"image": HOSTILE, "champion": 0.75, "challenger": 0.5}],
        "data": {"added": 1200, "removed": 0, "relabelled": 3, "renamed": 0, "left_test": 0, "moved": 0},
        "bundle_sha256": "b",
        "test_sha256": "t",
        "gate": {HOSTILE: None},
    }
    page = receipts.html(receipt)
    assert "<img" not in page and "&lt;img" in page
    assert "+10.00" in page and "<td class='number worse'>-20.00</td>" in page
    assert "0.7500</td><td class='number'>0.5000</td><td class='number worse'>-25.00</td>" in page
    assert "since the champion was trained: 1,200 added, 3 relabelled." in page


def test_the_static_report_has_everything_in_one_file(evaluated: Evaluated) -> None:
    page = (evaluated.reports / "index.html").read_text(encoding="utf-8")
    for one in evaluated.leaderboard["candidates"]:
        assert f"<td>{one['name']}</td><td class='number'>{one['miou']:.4f}</td>" in page
    assert page.count("src='data:image/png;base64,") == 2 == page.count("<img")
    assert "http" not in page and "<script" not in page  # nothing is fetched, nothing runs
    ranked = [one | {"name": HOSTILE} for one in evaluated.leaderboard["candidates"]]
    hostile = report.html(evaluated.leaderboard | {"candidates": ranked, "reason": HOSTILE}, {})
    assert "<img" not in hostile and "&lt;img" in hostile


def test_images_are_files_and_nothing_else_is(evaluated: Evaluated) -> None:
    client = TestClient(Starlette(routes=files.routes(lambda: evaluated)))
    row = evaluated.store.rows("test")[0]

    def fetched(what: str, **asked: str) -> np.ndarray:
        answer = client.get(f"/images/{what}/{row}.png", params=asked | {"version": evaluated.version})
        assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
        assert "immutable" in answer.headers["cache-control"] and answer.headers["x-content-type-options"] == "nosniff"
        return np.asarray(Image.open(io.BytesIO(answer.content)))

    assert (fetched("picture") == evaluated.picture(row)).all()
    assert (fetched("truth") == evaluated.truth(row)).all()
    assert (fetched("labelling", candidate="nothing") == 0).all()
    assert (fetched("labelling", candidate="right") == evaluated.truth(row)).all()
    version = f"version={evaluated.version}"
    for path in (
        f"/images/labelling/{row}.png?candidate=..%2F..%2Fright&{version}",
        f"/images/labelling/{row}.png?{version}",
        f"/images/secret/{row}.png?{version}",
        f"/images/labelling/{evaluated.store.rows('train')[0]}.png?candidate=right&{version}",
        f"/images/picture/99999999.png?{version}",
        "/images/picture/..%2F..%2Fparams.yaml",
        "/images/picture/-1.png",
    ):
        assert client.get(path).status_code == 404, path
    # a page of another comparison gets none of this one's images under its own images' names
    assert client.get(f"/images/picture/{row}.png?version=another").status_code == 409


def test_only_its_own_pages_are_answered() -> None:
    async def hello(_: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    async def socket(one: WebSocket) -> None:
        await one.accept()
        await one.close()

    app = OwnPagesOnly(Starlette(routes=[Route("/", hello), WebSocketRoute("/socket", socket)]), hosts=["127.0.0.1", "localhost"])
    client = TestClient(app, base_url="http://127.0.0.1:8501")
    own, others = {"Origin": "http://127.0.0.1:8501"}, ("http://evil.example", "http://127.0.0.1:5000", "null", "http://[")
    assert client.get("/").text == client.get("/", headers=own).text == "hello"
    with client.websocket_connect("ws://127.0.0.1:8501/socket", headers=own):
        pass
    for origin in others:
        assert client.get("/", headers={"Origin": origin}).status_code == 403, origin
        with (
            pytest.raises(WebSocketDisconnect),
            client.websocket_connect("ws://127.0.0.1:8501/socket", headers={"Origin": origin}),
        ):
            pass
    for host in ("evil.example:8501", "", "[", "127.0.0.1.evil.example"):
        assert client.get("/", headers={"Host": host}).status_code == 403, host


def test_stages_that_failed_or_took_no_time_are_told_apart() -> None:
    took: dict[str, dict[str, Any]] = {
        "train@a-long-name-that-is-shortened-1": {"seconds": 2.0, "failed": False, "why": ""},
        "train@a-long-name-that-is-shortened-2": {"seconds": None, "failed": True, "why": ""},
        "compare": {"seconds": None, "failed": False, "why": ""},
    }
    bars = charts.stages(took).data[0]
    assert list(bars.text) == ["2.0 s", "failed", "DVC had its results"] and list(bars.y) == [0, 1, 2]


def test_a_large_image_is_made_small_by_leaving_pixels_out() -> None:
    labels = np.random.default_rng(0).integers(0, 5, (30, 5000), np.uint8)
    small = np.asarray(Image.open(io.BytesIO(files.png(labels))))
    assert (small == labels[::3, ::3]).all()


def test_overlapping_classes_are_asked_for_one_by_one(tmp_path: Path) -> None:
    class Overlapping:
        overlap, class_names, version = True, ["sky", "bird"], ""

        def truth(self, row: int) -> UInt8Array:
            return np.stack([np.zeros((4, 6), np.uint8), np.ones((4, 6), np.uint8)])

    client = TestClient(Starlette(routes=files.routes(lambda: Overlapping())))  # type: ignore[arg-type, return-value]
    for index in (0, 1):
        answer = client.get(f"/images/truth/0.png?class={index}")
        assert (np.asarray(Image.open(io.BytesIO(answer.content))) == index).all()
    for asked in ("", "?class=2", "?class=x", "?class=²"):
        assert client.get(f"/images/truth/0.png{asked}").status_code == 404


@pytest.mark.unhurried
def test_it_starts_without_torch() -> None:
    """It is to start in a second and to stay small."""
    modules = "segmodels.dashboard.server, segmodels.dashboard.views.leaderboard, segmodels.dashboard.views.retrains"
    code = f"import sys; import {modules}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_nobody_but_the_first_waits_for_what_is_read_elsewhere() -> None:
    asked, may_answer, wrong = list[str](), threading.Event(), list[Exception]()

    def read(name: str) -> int:
        asked.append(name)
        assert len(asked) == 1 or may_answer.wait(10)
        if wrong:
            raise wrong[0]
        return len(asked)

    fresh = Fresh(read, seconds=0.2)
    assert fresh("a") == 1
    time.sleep(0.3)
    assert fresh("a") == 1  # it is old by now, and read again behind the scenes
    may_answer.set()
    until = time.monotonic() + 10
    while fresh("a") == 1:
        assert time.monotonic() < until
    wrong.append(ValueError("MLflow is away"))
    told = ""
    while not told:
        assert time.monotonic() < until
        try:
            fresh("a")
        except ValueError as error:
            told = str(error)
    assert told == "MLflow is away"
