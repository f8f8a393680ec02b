"""A network in 8 bits: close to the one it was made from, and taken where it is close enough."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from segmodels import augment, backends, bundle, quantized
from segmodels import evaluate as stage
from segmodels.bundle import Bundle
from segmodels.errors import BundleError, InputError
from segmodels.evaluate import evaluate
from segmodels.predict import Predictor
from segmodels.store import Store
from tests.pipeline.trainings import SIZE, trained

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def loaded(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("int8")
    augment.augment(prepared, folder / "light", recipe="light", options={}, size_px=SIZE, seed=0)
    trained(prepared, folder / "light", folder / "out", epochs=25, export="int8")
    return bundle.load(folder / "out" / "bundle")


def test_it_is_close_to_what_it_was_made_from(loaded: Bundle, store: Store) -> None:
    assert {quantized.XML, quantized.BIN, bundle.ONNX, bundle.WEIGHTS} == loaded.facts.files.keys()
    # a byte a weight, where there were four
    assert (loaded.folder / quantized.BIN).stat().st_size < 0.35 * (loaded.folder / bundle.WEIGHTS).stat().st_size
    eighth = Predictor(loaded, backends.load(loaded, "openvino", precision="int8"))
    whole = Predictor(loaded, backends.load(loaded, "torch", precision="fp32"))
    images = [np.array(store.image(row)) for row in store.rows("test")]
    assert np.mean([np.mean(eighth(image) == whole(image)) for image in images]) > 0.97  # of a network that is unsure
    assert eighth(np.zeros((50, 33, 3), np.uint8)).shape == (50, 33)


def test_it_is_taken_where_it_agrees(loaded: Bundle, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for allowed, precision in ((1.0, "int8"), (-1.0, backends.load(loaded, "openvino").precision)):
        monkeypatch.setattr(stage, "MAX_DISAGREEMENT", {"int8": allowed, "bf16": 1.0, "fp32": 1.0})
        report = evaluate(prepared, loaded.folder, tmp_path / "counts", tmp_path / "reports")
        assert (report["backend"], report["precision"]) == ("openvino", precision)
        assert 0 <= report["disagreement"]["openvino int8"] < 0.03


def test_what_disagrees_on_more_than_it_may_is_refused_and_the_next_tried(
    loaded: Bundle, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = backends.load(loaded, "openvino").precision
    tried = ["openvino int8", f"openvino {usual}", *(["openvino fp32"] if usual == "bf16" else [])]
    allowed = {one: 0.002 if one == "openvino int8" else 0.001 for one in tried}
    for position, taken in enumerate([*tried, "torch fp32"]):
        shares = {one: allowed[one] + (1e-6 if number < position else 0) for number, one in enumerate(tried)}

        def found(
            _: Store, predictors: Sequence[Predictor], *__: object, shares: dict[str, float] = shares, **___: object
        ) -> list[float]:
            return [shares[f"{one.backend.name} {one.backend.precision}"] for one in predictors]

        monkeypatch.setattr(stage, "disagreements", found)
        report = evaluate(prepared, loaded.folder, tmp_path / "counts", tmp_path / "reports", on=torch.device("cpu"))
        assert f"{report['backend']} {report['precision']}" == taken
        assert report["disagreement"] == {one: shares[one] for one in tried[: max(2, position + 1)]}


def test_it_is_asked_for_where_it_is(loaded: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="precision: torch does not compute in int8; take openvino, on a CPU"):
        backends.load(loaded, "torch", precision="int8")
    (loaded.folder / quantized.BIN).rename(tmp_path / "kept")
    try:
        with pytest.raises(BundleError, match=r"model.int8.bin is missing"):
            bundle.load(loaded.folder)
    finally:
        (tmp_path / "kept").rename(loaded.folder / quantized.BIN)
