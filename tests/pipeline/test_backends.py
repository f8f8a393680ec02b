"""The same bundle on torch, OpenVINO and ONNX Runtime; what its ONNX file says; what is refused before a runtime sees it."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from segmodels import backends, bundle, digests, network, onnx_file
from segmodels.bundle import Bundle
from segmodels.errors import BundleError, InputError
from segmodels.predict import Predictor
from segmodels.samples import RGB, ImageKind, SegmentationClass
from tests import bundles

CLASSES = [
    SegmentationClass("sky", 0, (1, 2, 3)),
    SegmentationClass("road", 1, (4, 5, 6)),
    SegmentationClass("car", 2, (7, 8, 9)),
]
CPU = torch.device("cpu")


def written(folder: Path, kind: ImageKind, **facts: Any) -> Bundle:
    torch.manual_seed(0)
    chosen: dict[str, Any] = {"architecture": "unet", "encoder": "resnet18", "options": {"decoder_channels": [16, 8, 8]}}
    middle = 128.0 * (1 if kind.bits == 8 else 257)
    segmenter = network.build(
        **chosen, weights=None, num_logits=3, mean=[middle] * kind.channels, std=[middle / 2] * kind.channels
    )
    bundles.save(folder, segmenter, classes=CLASSES, size_px=(64, 96), kind=kind, export="onnx", **chosen, **facts)
    return bundle.load(folder)


@pytest.fixture(scope="module", params=[RGB, ImageKind(1, 16)], ids=str)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return written(tmp_path_factory.mktemp("bundles") / "unet", request.param)


def noise(kind: ImageKind, *size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(kind.dtype).max, (*size, kind.channels), kind.dtype, endpoint=True)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_every_backend_gives_the_scores_of_torch(loaded: Bundle, name: backends.Name) -> None:
    torch_backend = backends.load(loaded, "torch", on=CPU, precision="fp32")
    backend = backends.load(loaded, name, precision="fp32")
    assert (backend.name, backend.device.type, backend.precision) == (name, "cpu", "fp32")
    for count, height, width in ((1, 64, 96), (3, 64, 96), (1, 50, 33), (2, 7, 200)):
        images = torch.from_numpy(np.stack([noise(loaded.kind, height, width)] * count)).permute(0, 3, 1, 2)
        expected = torch_backend(images)
        assert expected.shape == (count, 3, height, width)
        torch.testing.assert_close(backend(images), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_every_backend_gives_the_mask_of_torch(loaded: Bundle, name: backends.Name) -> None:
    reference = Predictor(loaded, backends.load(loaded, "torch", on=CPU, precision="fp32"))
    predictor = Predictor(loaded, backends.load(loaded, name, precision="fp32"))
    image = noise(loaded.kind, 100, 130)
    assert (predictor(image) == reference(image)).mean() > 0.999


def test_the_file_says_what_it_is(loaded: Bundle) -> None:
    model = onnx.load(loaded.folder / bundle.ONNX)
    said = {one.key: one.value for one in model.metadata_props}
    assert json.loads(said["class_names"]) == ["sky", "road", "car"]
    assert json.loads(said["palette"]) == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert (said["task"], json.loads(said["size_px"]), json.loads(said["tile_px"])) == ("multiclass", [64, 96], [64, 96])
    assert (json.loads(said["mean"]), json.loads(said["std"])) == (loaded.facts.mean, loaded.facts.std)
    assert json.loads(said["overlap"]) == 0.25
    [images], [logits] = model.graph.input, model.graph.output
    shapes = [[one.dim_param or one.dim_value for one in value.type.tensor_type.shape.dim] for value in (images, logits)]
    assert shapes == [["batch", loaded.kind.channels, "height", "width"], ["batch", 3, "height", "width"]]


def test_the_file_names_the_thresholds_of_classes_that_overlap(tmp_path: Path) -> None:
    written(tmp_path / "overlapping", RGB, task="multilabel", thresholds=[0.3, 0.5, 0.75])
    said = {one.key: one.value for one in onnx.load(tmp_path / "overlapping" / bundle.ONNX).metadata_props}
    assert (said["task"], json.loads(said["thresholds"])) == ("multilabel", [0.3, 0.5, 0.75])


def test_on_a_cpu_openvino_is_taken_where_there_is_an_onnx_file(loaded: Bundle, tmp_path: Path) -> None:
    assert backends.load(loaded, on=CPU).name == "openvino"
    (tmp_path / "plain").mkdir()
    for name in (bundle.WEIGHTS, bundle.FACTS):
        (tmp_path / "plain" / name).write_bytes((loaded.folder / name).read_bytes())
    facts = json.loads((tmp_path / "plain" / bundle.FACTS).read_text())
    del facts["files"][bundle.ONNX]
    (tmp_path / "plain" / bundle.FACTS).write_text(json.dumps(facts))
    plain = bundle.load(tmp_path / "plain")
    assert backends.load(plain, on=CPU).name == "torch"
    with pytest.raises(BundleError, match=r"has no model.onnx, which openvino runs; train it with `training.export: onnx`"):
        backends.load(plain, "openvino")


def test_what_runs_on_a_cpu_is_not_asked_to_run_elsewhere(loaded: Bundle) -> None:
    with pytest.raises(InputError, match="openvino runs on the CPU, not on cuda:0; take torch there"):
        backends.load(loaded, "openvino", on=torch.device("cuda", 0))


def outside(location: str) -> TensorProto:
    """A tensor whose values stand in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def plainly(tensor: TensorProto) -> onnx.GraphProto:
    return helper.make_graph([], "g", [], [], initializer=[tensor])


def in_a_subgraph(tensor: TensorProto) -> onnx.GraphProto:
    inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=tensor)], "inner", [], [])
    return helper.make_graph([helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)], "g", [], [])


def sparsely(tensor: TensorProto) -> onnx.GraphProto:
    sparse = onnx.SparseTensorProto(values=tensor, indices=helper.make_tensor("i", TensorProto.INT64, [1], [0]), dims=[4])
    return helper.make_graph([], "g", [], [], sparse_initializer=[sparse])


@pytest.mark.parametrize("graph", [plainly, in_a_subgraph, sparsely])
@pytest.mark.parametrize("location", ["../../etc/passwd", "/etc/passwd", "symlink", "hardlink"])
def test_tensors_in_other_files_are_refused_before_a_runtime_opens_them(
    graph: Callable[[TensorProto], onnx.GraphProto],
    location: str,
    loaded: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a bundle whose hashes are right: as somebody would make it who wants a file of the reader's."""
    folder = Path(shutil.copytree(loaded.folder, tmp_path / "bundle"))
    (folder / "symlink").symlink_to("/etc/passwd")
    (tmp_path / "secret").write_bytes(bytes(4))
    (folder / "hardlink").hardlink_to(tmp_path / "secret")
    (folder / bundle.ONNX).write_bytes(helper.make_model(graph(outside(location))).SerializeToString())
    facts = json.loads((folder / bundle.FACTS).read_text())
    facts["files"][bundle.ONNX] = digests.of_file(folder / bundle.ONNX)
    (folder / bundle.FACTS).write_text(json.dumps(facts))
    seen: list[object] = []
    monkeypatch.setattr("openvino.Core", lambda: seen.append("opened"))
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: seen.append("opened"))
    for name in ("openvino", "onnxruntime"):
        with pytest.raises(BundleError, match="its tensor 'w' lies in another file"):
            backends.load(bundle.load(folder), name)
    assert not seen


def with_model(loaded: Bundle, folder: Path, model: bytes) -> Bundle:
    """The bundle with another network in its ONNX file, and hashes that are right."""
    shutil.copytree(loaded.folder, folder)
    (folder / bundle.ONNX).write_bytes(model)
    facts = json.loads((folder / bundle.FACTS).read_text())
    facts["files"][bundle.ONNX] = digests.of_file(folder / bundle.ONNX)
    (folder / bundle.FACTS).write_text(json.dumps(facts))
    return bundle.load(folder)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_what_a_runtime_cannot_run_is_refused_in_a_sentence(loaded: Bundle, tmp_path: Path, name: backends.Name) -> None:
    model = onnx.load_from_string((loaded.folder / bundle.ONNX).read_bytes())
    model.graph.node[0].op_type = "NoSuchOperation"
    with pytest.raises(InputError, match=rf"{name} cannot run its network \(.*\); take another backend"):
        backends.load(with_model(loaded, tmp_path / "unknown", model.SerializeToString()), name)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_network_of_other_classes_than_its_bundle_is_refused(loaded: Bundle, tmp_path: Path, name: backends.Name) -> None:
    other = SegmentationClass("other", 3, (9, 9, 9))
    torch.manual_seed(0)
    segmenter = network.build(
        architecture="unet",
        encoder="resnet18",
        options={"decoder_channels": [16, 8, 8]},
        weights=None,
        num_logits=4,
        mean=[128.0] * loaded.kind.channels,
        std=[64.0] * loaded.kind.channels,
    )
    onnx_file.export(segmenter.eval(), tmp_path / "four.onnx", kind=loaded.kind, metadata={"classes": other.name})
    with pytest.raises(InputError, match=rf"gives scores of the shape \(1, 4, 64, 64\) on {name}, expected \(1, 3, 64, 64\)"):
        backends.load(with_model(loaded, tmp_path / "four", (tmp_path / "four.onnx").read_bytes()), name)


def test_what_onnx_runtime_does_not_compute_in_is_refused(loaded: Bundle) -> None:
    with pytest.raises(InputError, match="onnxruntime computes in fp32; leave it out"):
        backends.load(loaded, "onnxruntime", precision="bf16")


@pytest.mark.parametrize("content", [b"", b"no model", b"\xff" * 100])
def test_what_is_no_onnx_file_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match="is no ONNX file"):
        onnx_file.refuse_what_leads_out(content, Path("model.onnx"))


def test_several_threads_may_ask_at_once(loaded: Bundle) -> None:
    predictor = Predictor(loaded, backends.load(loaded, "openvino"))
    images = [np.roll(noise(loaded.kind, 50, 70), number, axis=1) for number in range(4)]
    expected = [predictor(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            for found, mask in zip(pool.map(predictor, images), expected, strict=True):
                np.testing.assert_array_equal(found, mask)
