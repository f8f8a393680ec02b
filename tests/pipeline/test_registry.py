"""The registry and its gate, in a real MLflow database, with models whose scores are known by hand."""

import itertools
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from PIL import Image

from flows import aliases, promotion, registry, standing
from flows.rollback import rollback
from flows.standing import Decision
from segmodels import bundle, gate, network, records, shapes, tracking
from segmodels.dataset import open_dataset
from segmodels.errors import BundleError
from segmodels.images import write_mask
from segmodels.ingest import ingest
from segmodels.ledger import Ledger
from segmodels.params import Gate
from segmodels.predict import Predictor
from segmodels.remembered import Splitting
from segmodels.samples import SegmentationClass
from segmodels.scoring import score
from segmodels.store import Store
from tests import bundles
from tests.conftest import prepared_at

REFUSAL = registry.refusal
OPEN: dict[str, Any] = Gate(
    # of nine test images: what three are won in is evidence enough, and what a class loses is forgiven
    min_miou=0,
    false_promotions_per_year=100,
    class_margin=1.0,
    anchor_margin=1.0,
).model_dump()


@dataclass
class Registry:
    """A project's registry, and models that see one class everywhere."""

    folder: Path
    prepared: Path

    @property
    def client(self) -> MlflowClient:
        return tracking.connect()

    @property
    def store(self) -> Store:
        return Store(self.prepared)

    def miou(self, index: int) -> float:
        """Test mIoU of a model that sees class `index` everywhere: its IoU is its share of the pixels, that of all others is 0."""
        store = self.store
        test = store.manifest.iloc[store.rows("test")]
        pixels = test[[f"pixels_{k}" for k in range(store.labels.num_classes)]].sum()
        assert (pixels > 0).all()
        return float(pixels.iloc[index] / pixels.sum() / store.labels.num_classes)

    def decide(
        self,
        index: int,
        *,
        settings: dict[str, Any] = OPEN,
        classes: list[SegmentationClass] | None = None,
        backend: Literal["torch", "openvino"] = "torch",
        today: date = date(2026, 1, 1),
    ) -> Decision:
        """Put the model that sees class `index` everywhere forward."""
        name = f"all_{index}_of_{len(classes or self.store.classes)}"
        folder = self.folder / name
        if not folder.exists():
            save_constant(folder, index, classes or self.store.classes)
        counted = self.folder / "evaluated" / name
        if not counted.exists():
            counted.mkdir(parents=True)
            of_its_own = folder if classes is None else self.folder / "all_0_of_5"  # nobody looks at what others know
            if not of_its_own.exists():
                save_constant(of_its_own, 0, self.store.classes)
            score(self.store, Predictor(bundle.load(of_its_own))).to_parquet(counted / "images.parquet")
            (counted / "scores.json").write_text("{}")
        experiment = self.client.get_experiment_by_name("p")
        experiment_id = experiment.experiment_id if experiment else self.client.create_experiment("p")
        case = promotion.Case(
            "p",
            best={
                "name": name,
                "miou": self.miou(index),
                "pixel_accuracy": None,
                "num_images": 9,
                "classes": [],
                "bundle_sha256": bundle.digest(folder),
                "backend": backend,
                "precision": "fp32",
                "latency_ms": 7.0,
                "peak_memory_mb": 90.0,
            },
            test_sha256=self.store.digest("test"),
            settings=settings,
            bundle_folder=folder,
            prepared=self.prepared,
            counted=counted,
            reports=self.folder / "reports",
            run_id=self.client.create_run(experiment_id).info.run_id,
            made_from=None,
            today=today,
        )
        return promotion.decide(case)

    def saved(self, index: int) -> str:
        """Save the model that sees class `index` everywhere; returns the hash of its bundle."""
        folder = self.folder / f"all_{index}_of_{len(self.store.classes)}"
        if not folder.exists():
            save_constant(folder, index, self.store.classes)
        return bundle.digest(folder)

    def champion(self) -> str | None:
        found = self.client.get_registered_model("p").aliases.get("champion")
        return None if found is None else str(found)


def save_constant(folder: Path, index: int, classes: list[SegmentationClass], channels: int = 3, **others: Any) -> None:
    facts: dict[str, Any] = {"architecture": "unet", "encoder": "resnet18", "options": {"decoder_channels": [8, 8]}}
    segmenter = network.build(**facts, weights=None, num_logits=len(classes), mean=[0] * channels, std=[1] * channels)
    with torch.no_grad():
        for parameter in segmenter.parameters():
            parameter.zero_()
        segmenter.network.get_submodule("segmentation_head.0").get_parameter("bias")[index] = 1.0
    bundles.save(
        folder, segmenter, classes=classes, size_px=(32, 64), dataset_sha256="d" * 64, git_commit="c0ffee", **facts, **others
    )


@pytest.fixture
def models(prepared: Path, empty_records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Versions are not asked for a mask before they become champion, which takes seconds: tests that look at that have `asked` too."""
    monkeypatch.setattr(registry, "refusal", lambda address, kind: None)
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_records, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    for name in ("dvc.lock", "params.yaml"):
        (tmp_path / name).write_text(name)
    for command in (
        ["git", "init", "-q"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", "start", "--allow-empty"],
    ):
        subprocess.run(command, check=True)
    return Registry(tmp_path, prepared)


def test_the_first_one_is_champion_and_a_better_one_takes_its_place(models: Registry) -> None:
    assert models.miou(0) > models.miou(1)  # there is more background than discs
    first = models.decide(1)
    assert (first.outcome, first.version, models.champion()) == ("promote", "1", "1")
    second = models.decide(0)
    assert (second.outcome, second.version, models.champion()) == ("promote", "2", "2")
    assert f"all_0_of_5 is better than version 1: {100 * (models.miou(0) - models.miou(1)):+.2f} points of mIoU" in second.reason


def test_a_version_says_what_it_takes_and_gives_and_shows_an_example(models: Registry) -> None:
    models.decide(1)
    address = "models:/p@champion"
    told = mlflow.models.get_model_info(address).signature
    assert told.inputs.to_dict() == [{"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": (-1, -1, 3)}}]
    assert told.outputs.to_dict() == [{"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": (-1, -1)}}]
    loaded = mlflow.pyfunc.load_model(address)
    mask = loaded.predict(loaded.input_example)
    assert mask.shape == loaded.input_example.shape[:2] and (mask == 1).all()


@pytest.fixture
def asked(models: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "refusal", REFUSAL)


@pytest.mark.usefixtures("asked")
def test_one_that_does_not_answer_leaves_the_champion_and_is_asked_again(
    models: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.decide(1)
    with monkeypatch.context() as without_memory:
        without_memory.setenv("PYTHONPATH", str(Path(__file__).parent / "speechless"))  # mlflow cannot be imported there
        decision = models.decide(0)
    assert (decision.outcome, models.champion()) == ("refused", "1")
    assert "does not answer as MLflow loads it: ImportError: no memory" in decision.reason
    assert json.loads((models.folder / "reports" / "promotion.json").read_text())["outcome"] == "refused"
    assert "segmodels.promoting" not in models.client.get_registered_model("p").tags
    key = standing.decision_key(bundle.digest(models.folder / "all_0_of_5"), models.store.digest("test"), OPEN)
    assert standing.decided("p", key) is None
    assert models.decide(0).outcome == "promote"
    assert models.champion() == "2"


MOMENTS = [
    # before it is a version; before the test images and then the receipt are in the records, and where the former are
    *(("create_model_version", 1), ("log_dict", 1), ("set_registered_model_tag", 1), ("log_artifact", 1)),
    # before the intent is noted; then before the alias moves, before the best ever moves
    *(("set_registered_model_tag", 2), ("set_registered_model_alias", 1), ("set_registered_model_alias", 2)),
    # before what was before is noted, before the verdict is, at the end
    *(("set_model_version_tag", 1), ("set_model_version_tag", 2), ("delete_registered_model_tag", 1)),
    # past the promotion, before its key is noted
    *(("set_model_version_tag", 4), ("set_model_version_tag", 2)),
]


def test_a_promotion_that_is_killed_at_any_moment_is_made_again_whole(models: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    models.decide(1)
    key = standing.decision_key(models.saved(0), models.store.digest("test"), OPEN)
    for name, call in MOMENTS:
        own, left = getattr(MlflowClient, name), itertools.count(1)

        def change(*arguments: Any, own: Any = own, left: Iterator[int] = left, call: int = call, **named: Any) -> Any:
            if next(left) == call:
                raise KeyboardInterrupt
            return own(*arguments, **named)

        with monkeypatch.context() as cut:
            cut.setattr(MlflowClient, name, change)
            with pytest.raises(KeyboardInterrupt):
                models.decide(0)
        aliases.reconcile(models.client, "p")  # as the next start does
        assert standing.decided("p", key) is None
        if models.champion() != "1":  # past the promotion: all of it is there
            assert {str(one) for one in models.client.get_registered_model("p").aliases.values()} == {"2"}
            assert models.client.get_model_version("p", "2").tags["segmodels.previous"] == "1"
    assert rollback("p") == ("2", "1")  # what was promoted in pieces is a version like any other
    assert rollback("p", "2") == ("1", "2")
    assert models.decide(0).outcome == "promote"
    assert models.champion() == "2"
    assert len(models.client.search_model_versions("name = 'p'")) == 2  # registered once


def test_why_it_was_promoted_stays_though_the_decision_is_cut_short_after_that(
    models: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.decide(1)
    own = MlflowClient.set_model_version_tag

    def cut(client: MlflowClient, name: str, version: str, key: str, value: str) -> None:
        if key == records.DECISION:
            raise KeyboardInterrupt
        own(client, name, version, key, value)

    with monkeypatch.context() as power:
        power.setattr(MlflowClient, "set_model_version_tag", cut)
        with pytest.raises(KeyboardInterrupt):
            models.decide(0)
    assert models.champion() == "2"
    assert "all_0_of_5 is better than version 1" in models.decide(0).reason
    assert "is the champion already" in models.decide(0).reason  # what is put forward once more is


def test_a_champion_that_another_folder_has_made_meanwhile_stays(models: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    models.decide(1)
    models.decide(2)
    own = gate.decide

    def meanwhile(*arguments: Any, **named: Any) -> Any:
        models.client.set_registered_model_alias("p", "champion", "2")
        return own(*arguments, **named)

    with monkeypatch.context() as other:
        other.setattr(gate, "decide", meanwhile)
        decision = models.decide(0)
    assert (decision.outcome, models.champion()) == ("keep", "2")
    assert "version 2 became champion while all_0_of_5 was compared with the one before" in decision.reason
    assert models.decide(0).outcome == "promote"  # it is asked again


def test_a_worse_one_is_registered_and_not_promoted(models: Registry) -> None:
    models.decide(0)
    verdict = models.decide(1)
    assert (verdict.outcome, verdict.version, models.champion()) == ("keep", "2", "1")


def test_what_the_dataset_has_gained_is_worth_no_failed_decision(models: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    models.decide(1)

    def gone(*_: Any) -> None:
        raise MlflowException("(404) when calling the HeadObject operation: Not Found")

    monkeypatch.setattr(records, "prepared_as", gone)
    assert models.decide(0).outcome == "promote"
    assert json.loads((models.folder / "reports" / "promotion.json").read_text())["data"] is None


def test_without_evidence_the_champion_stays_and_the_receipt_says_what_is_missing(models: Registry) -> None:
    models.decide(1)
    decision = models.decide(0, settings=OPEN | {"false_promotions_per_year": 0.05})
    assert (decision.outcome, models.champion()) == ("inconclusive", "1")
    receipt = json.loads((models.folder / "reports" / "promotion.json").read_text())
    assert (receipt["version"], receipt["champion"], receipt["outcome"]) == ("2", "1", "inconclusive")
    assert receipt["test_sha256"] == models.store.digest("test")
    assert receipt["gain"]["difference"] == pytest.approx(models.miou(0) - models.miou(1))
    assert receipt["clusters"] == len(models.store.rows("test"))
    assert receipt["times"] < receipt["times_needed"] == pytest.approx(np.log(7300))
    told = (models.folder / "reports" / "promotion.md").read_text()
    assert told.startswith("# p version 2: inconclusive") and "7,300 to 1 is needed" in told
    assert models.decide(0).outcome == "promote"
    assert models.champion() == "2"


def test_a_class_that_lost_keeps_the_champion(models: Registry) -> None:
    models.decide(1)  # which sees all discs, where the other sees none
    decision = models.decide(0, settings=OPEN | {"class_margin": 0.02})
    assert (decision.outcome, models.champion()) == ("keep", "1")
    assert "disc may have lost" in decision.reason


def test_it_is_weighed_against_the_best_champion_ever_too(models: Registry) -> None:
    order = sorted(range(5), key=models.miou)
    worst, middle, best = order[0], order[-2], order[-1]
    models.decide(worst)
    models.decide(best)
    models.client.set_registered_model_alias("p", "champion", "1")  # a person has rolled back
    decision = models.decide(middle, settings=OPEN | {"anchor_margin": 0.005, "false_promotions_per_year": 300})
    assert (decision.outcome, models.champion()) == ("keep", "1")
    assert "worse than the best champion ever" in decision.reason
    assert models.decide(middle, settings=OPEN | {"false_promotions_per_year": 300}).outcome == "promote"
    named = models.client.get_registered_model("p").aliases
    assert {name: str(version) for name, version in named.items()} == {"champion": "3", "best-ever": "2"}


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ({"max_latency_ms": 5.0}, "takes 7.0 ms an image, above"),
        ({"max_memory_mb": 80.0}, "takes 90.0 MB, above gate.max_memory_mb 80"),
    ],
)
def test_what_is_too_slow_or_too_large_is_refused(models: Registry, limit: dict[str, float], told: str) -> None:
    decision = models.decide(0, settings=OPEN | limit)
    assert (decision.outcome, models.champion()) == ("refused", None)
    assert told in decision.reason


def test_a_champion_whose_files_are_gone_is_replaced_by_what_beats_the_best_ever(models: Registry) -> None:
    order = sorted(range(5), key=models.miou)
    models.decide(order[-2])
    models.decide(order[0])  # worse: it stays a version
    models.client.set_registered_model_alias("p", "champion", "2")  # by hand
    lose(models, "2")
    better = models.decide(order[-1])
    assert (better.outcome, models.champion()) == ("promote", "3")
    assert "is better than version 1: " in better.reason


def test_where_no_champion_can_be_used_the_first_that_breaks_no_floor_is(models: Registry) -> None:
    models.decide(0)
    lose(models, "1")
    decision = models.decide(1)
    assert (decision.outcome, models.champion()) == ("promote", "2")
    assert "replaces version 1, which cannot be used: what was stored of version 1 of p is gone" in decision.reason


def test_a_best_ever_whose_files_are_gone_stops_nothing(models: Registry) -> None:
    order = sorted(range(5), key=models.miou)
    models.decide(order[0])
    models.decide(order[-2])
    models.client.set_registered_model_alias("p", "champion", "1")
    lose(models, "2")
    assert models.decide(order[-1]).outcome == "promote"


def lose(models: Registry, version: str) -> None:
    """Remove what is stored of a version."""
    source = models.client.get_model_version("p", version).source
    assert source is not None
    stored = models.client.get_logged_model(source.removeprefix("models:/")).artifact_location
    shutil.rmtree(stored.removeprefix("file://"))


def test_it_is_not_promoted_again_once_somebody_went_back_from_it(models: Registry) -> None:
    models.decide(1)
    models.decide(0)
    rollback("p")
    again = models.decide(0, settings=OPEN | {"min_miou": 0.01})
    assert (again.outcome, models.champion()) == ("keep", "1")
    assert "which was rolled back from; `make rollback VERSION=2` brings it back" in again.reason
    rollback("p", "2")
    assert models.decide(0, settings=OPEN | {"min_miou": 0.02}).outcome == "promote"


def test_below_the_floor_there_is_no_champion(models: Registry) -> None:
    verdict = models.decide(0, settings=OPEN | {"min_miou": 0.5})
    assert verdict.outcome == "refused"
    assert "below gate.min_miou 0.5" in verdict.reason
    assert models.champion() is None


def test_the_same_bundle_is_one_version_and_its_records_are_complete(models: Registry) -> None:
    models.decide(0)
    again = models.decide(0, settings=OPEN | {"min_miou": 0.01})
    assert (again.outcome, again.version, models.champion()) == ("promote", "1", "1")
    [version] = models.client.search_model_versions("name = 'p'")
    tags = version.tags
    assert tags["segmodels.bundle_sha256"] == bundle.digest(models.folder / "all_0_of_5")
    assert tags["segmodels.dataset_sha256"] == "d" * 64
    assert len(tags["segmodels.dvc_lock_sha256"]) == len(tags["segmodels.params_sha256"]) == 64
    assert tags["segmodels.git_commit"] == "c0ffee"  # when it was trained, not when it was registered
    assert json.loads(tags["segmodels.verdict"])["outcome"] == "promote"


def test_a_decision_stands_until_what_it_rests_on_changes(models: Registry) -> None:
    verdict = models.decide(0)
    sha256, test = bundle.digest(models.folder / "all_0_of_5"), models.store.digest("test")
    assert standing.decided("p", standing.decision_key(sha256, test, OPEN)) == verdict
    assert standing.decided("p", standing.decision_key(sha256, test, OPEN | {"min_miou": 0.1})) is None
    assert standing.decided("p", standing.decision_key(sha256, "other images", OPEN)) is None


def test_a_decision_that_was_cut_short_is_made_again(models: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def power_went(*_: object) -> None:
        raise RuntimeError("the power went")

    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "set_registered_model_alias", power_went)
        with pytest.raises(RuntimeError, match="the power went"):
            models.decide(0)
    key = standing.decision_key(bundle.digest(models.folder / "all_0_of_5"), models.store.digest("test"), OPEN)
    assert standing.decided("p", key) is None
    assert models.champion() is None
    verdict = models.decide(0)
    assert (verdict.outcome, verdict.version, models.champion()) == ("promote", "1", "1")
    assert len(models.client.search_model_versions("name = 'p'")) == 1


def test_a_champion_that_knows_none_of_the_classes_is_replaced(models: Registry) -> None:
    cats = [SegmentationClass("cat", 0, (1, 1, 1)), SegmentationClass("dog", 1, (2, 2, 2))]
    models.decide(1, classes=cats)
    verdict = models.decide(0)
    assert verdict.outcome == "promote"
    assert "knows none of the classes" in verdict.reason


def test_a_new_class_is_no_reason_to_promote_what_is_worse_in_the_others(models: Registry) -> None:
    *old, new = models.store.classes
    other_order = [SegmentationClass(one.name, value, one.color) for value, one in enumerate(reversed(old))]
    models.decide(0, classes=other_order)  # sees what is the last of these to the dataset
    decision = models.decide(0)
    receipt = json.loads((models.folder / "reports" / "promotion.json").read_text())
    test = models.store.manifest.iloc[models.store.rows("test")]
    pixels = test[[f"pixels_{k}" for k in range(len(old))]].sum().tolist()  # those of the new class are void for both
    expected = (pixels[0] - pixels[-1]) / sum(pixels) / len(old)
    assert receipt["gain"]["difference"] == pytest.approx(expected)
    assert [one["what"] for one in receipt["classes"]] == [one.name for one in old]
    assert decision.outcome == "promote" and decision.reason.endswith(
        f"; compared on the classes that both know: {new.name} is new"
    )
    models.client.set_registered_model_alias("p", "champion", "2")
    worse = models.decide(len(old) - 1)
    assert (worse.outcome, "is no better" in worse.reason) == ("keep", True)


def edited(drawn: Path, folder: Path, edit: Callable[[Path, str], None], name: str) -> Path:
    """The drawn dataset, which remembers its splits, with an edit of the image `name`, prepared as the other is."""
    with Ledger() as ledger:
        ingest(open_dataset(drawn), folder / "raw", ledger=ledger, splitting=Splitting("group", None, 0.25, 0.35, 0, "together"))
    edit(folder / "raw", name)
    return prepared_at(open_dataset(folder / "raw"), folder / "store")


def brighten(root: Path, name: str) -> None:
    pixels = np.array(Image.open(root / "images" / f"{name}.png"))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(root / "images" / f"{name}.png")


def relabel(root: Path, name: str) -> None:
    with Image.open(root / "masks" / f"{name}.png") as mask:
        mask.putpixel((0, 0), 1 if mask.getpixel((0, 0)) != 1 else 0)
        mask.save(root / "masks" / f"{name}.png")


def remove(root: Path, name: str) -> None:
    for path in root.rglob(f"{name}.png"):
        path.unlink()


@pytest.mark.parametrize(("edit", "told"), [(brighten, "changed"), (relabel, "changed"), (remove, "left it")])
def test_nothing_is_promoted_on_a_test_set_that_moved(
    models: Registry, drawn: Path, edit: Callable[[Path, str], None], told: str
) -> None:
    models.decide(1)
    before = models.store
    name = str(before.manifest["id"].iloc[before.rows("test")[0]])
    models.prepared = edited(drawn, models.folder / "edited", edit, name)
    verdict = models.decide(0)
    assert (verdict.outcome, models.champion()) == ("keep", "1")
    digest = models.store.digest("test")
    assert f"not that of the last decision any more: 1 images {told} ({name})" in verdict.reason
    assert f"gate.test_set: {digest[:16]} in params.yaml" in verdict.reason
    assert models.decide(0, settings=OPEN | {"test_set": "0" * 16}).outcome == "keep"
    assert models.decide(0, settings=OPEN | {"test_set": digest[:16]}).outcome == "promote"
    assert models.champion() == "2"


def test_a_test_set_that_has_grown_is_no_other_and_what_joined_it_counts(models: Registry, drawn: Path) -> None:
    models.decide(1)
    before = {str(name) for name in models.store.manifest["id"].iloc[models.store.rows("test")]}
    scored_before = models.miou(1)

    def more(root: Path, _: str) -> None:
        for seed in range(20):
            drawing = shapes.draw(size_px=(48, 64), seed=1000 + seed)
            Image.fromarray(drawing.image).save(root / "images" / f"later_{seed}.png")
            write_mask(root / "masks" / f"later_{seed}.png", drawing.mask, shapes.CLASSES)

    models.prepared = edited(drawn, models.folder / "grown", more, "")
    joined = {str(name) for name in models.store.manifest["id"].iloc[models.store.rows("test")]} - before
    assert joined
    shutil.rmtree(models.folder / "evaluated")  # on the test images of before
    assert models.decide(0).outcome == "promote"
    # what the champion lost or won by the new images alone is the data's
    moved = json.loads((models.folder / "reports" / "promotion.json").read_text())["movements"][0]
    assert moved == {
        "what": "mIoU",
        "before": pytest.approx(scored_before),
        "now": pytest.approx(models.miou(1)),
        "challenger": pytest.approx(models.miou(0)),
    }
    assert (
        "Test images have come, or have other labels, since the last decision"
        in (models.folder / "reports" / "promotion.md").read_text()
    )

    def relabelled(root: Path, name: str) -> None:
        more(root, "")
        relabel(root, name)

    models.prepared = edited(drawn, models.folder / "relabelled", relabelled, min(joined))
    shutil.rmtree(models.folder / "evaluated")
    assert f"any more: 1 images changed ({min(joined)})" in models.decide(2).reason


def test_other_labels_that_somebody_has_accepted_are_told_from_another_model(models: Registry, drawn: Path) -> None:
    models.decide(1)
    scored_before = models.miou(1)

    def relabelled(root: Path, name: str) -> None:
        with Image.open(root / "masks" / f"{name}.png") as mask:
            mask.paste(1, (0, 0, 20, 20))
            mask.save(root / "masks" / f"{name}.png")

    name = str(models.store.manifest["id"].iloc[models.store.rows("test")[0]])
    models.prepared = edited(drawn, models.folder / "relabelled", relabelled, name)
    shutil.rmtree(models.folder / "evaluated")
    assert models.decide(0).outcome == "keep"  # until somebody says that it is meant
    models.decide(0, settings=OPEN | {"test_set": models.store.digest("test")[:16]})
    moved = json.loads((models.folder / "reports" / "promotion.json").read_text())["movements"][0]
    assert moved == {
        "what": "mIoU",
        "before": pytest.approx(scored_before),  # the champion by the old labels, by the new ones, and the challenger by these
        "now": pytest.approx(models.miou(1)),
        "challenger": pytest.approx(models.miou(0)),
    }
    assert moved["now"] > moved["before"]


def test_before_there_is_a_champion_the_test_set_may_change(models: Registry, drawn: Path) -> None:
    assert models.decide(0, settings=OPEN | {"min_miou": 0.9}).outcome == "refused"
    name = str(models.store.manifest["id"].iloc[models.store.rows("test")[0]])
    models.prepared = edited(drawn, models.folder / "edited", relabel, name)
    assert models.decide(0).outcome == "promote"


def test_a_change_that_was_accepted_is_what_later_ones_are_held_against(models: Registry, drawn: Path) -> None:
    models.decide(0)
    name = str(models.store.manifest["id"].iloc[models.store.rows("test")[0]])
    models.prepared = edited(drawn, models.folder / "edited", brighten, name)
    shutil.rmtree(models.folder / "evaluated")
    assert models.decide(1, settings=OPEN | {"test_set": models.store.digest("test")[:16]}).outcome == "keep"  # it is worse
    assert "no better" in models.decide(2).reason  # and nothing need be accepted again


def test_what_was_fetched_before_is_taken_only_if_it_is_the_version(models: Registry, tmp_path: Path) -> None:
    models.decide(0)
    version = registry.champion_version("p")
    assert version is not None
    sha256 = bundle.digest(models.folder / "all_0_of_5")
    assert registry.fetch(version, tmp_path / "kept").sha256 == sha256
    facts = tmp_path / "kept" / bundle.FACTS
    inode = facts.stat().st_ino
    assert registry.fetch(version, tmp_path / "kept").sha256 == sha256 and facts.stat().st_ino == inode  # not fetched again
    weights = tmp_path / "kept" / bundle.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])  # a disk that was full
    assert registry.fetch(version, tmp_path / "kept").sha256 == sha256
    shutil.rmtree(tmp_path / "kept")
    save_constant(tmp_path / "kept", 1, models.store.classes)  # what another registry's version 1 was
    assert registry.fetch(version, tmp_path / "kept").sha256 == sha256
    models.client.set_model_version_tag("p", "1", "segmodels.bundle_sha256", "0" * 64)
    other = registry.champion_version("p")
    assert other is not None
    with pytest.raises(BundleError, match="version 1 of p is not the bundle that was registered"):
        registry.fetch(other, tmp_path / "new")
