"""The vault: a promotion that the test images speak for is held against scenes that no score has seen, a few times a year."""

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from flows import standing
from segmodels import bundle, gate, shapes
from segmodels.dataset import open_dataset
from segmodels.evaluate import evaluate
from segmodels.ingest import ingest
from segmodels.ledger import Ledger
from segmodels.remembered import Splitting
from segmodels.store import Store
from tests.conftest import prepared_at
from tests.pipeline.test_registry import OPEN, Registry, models  # noqa: F401  a fixture

SHARE, NEW_YEAR = 0.4, date(2026, 1, 1)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of so many images that a part of the test set can show something."""
    folder = tmp_path_factory.mktemp("many") / "raw"
    shapes.write(folder, count=60, size_px=(48, 64), seed=3)
    return folder


def kept_back(many: Path, folder: Path, edit: Callable[[Path], None] | None = None) -> Path:
    """The drawn dataset with a vault, whose masks are edited."""
    with Ledger() as ledger:
        ingest(open_dataset(many), folder / "raw", ledger=ledger, splitting=Splitting("group", None, 0.25, 0.35, 0, "together"))
    before = Store(prepared_at(open_dataset(folder / "raw"), folder / "store", vault=SHARE))
    if edit is None:
        return before.folder
    for row in before.rows("vault"):
        edit(folder / "raw" / "masks" / f"{before.manifest['id'].iloc[row]}.png")
    return prepared_at(open_dataset(folder / "raw"), folder / "edited", vault=SHARE)


def all_one(path: Path) -> None:
    with Image.open(path) as mask:
        mask.paste(1, (0, 0, *mask.size))
        mask.save(path)


def receipt(models: Registry) -> dict[str, Any]:  # noqa: F811
    found: dict[str, Any] = json.loads((models.folder / "reports" / "promotion.json").read_text())
    return found


def openings(models: Registry) -> list[dict[str, Any]]:  # noqa: F811
    tags = models.client.get_registered_model("p").tags
    return [json.loads(value) for name, value in tags.items() if name.startswith("segmodels.vault.")]


def test_no_score_sees_the_vault(models: Registry, many: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    everything = Store(prepared_at(open_dataset(many), models.folder / "everything"))
    models.prepared = kept_back(many, models.folder / "vault")
    ids = models.store.manifest["id"]
    kept, tested = set(ids.iloc[models.store.rows("vault")]), set(ids.iloc[models.store.rows("test")])
    assert kept and tested and not kept & tested
    assert kept | tested == set(everything.manifest["id"].iloc[everything.rows("test")])
    looked_at = set[str]()
    place = Store._place

    def watched(store: Store, row: int, offset: str) -> tuple[int, int, int]:
        looked_at.add(str(store.manifest["id"].iloc[row]))
        return place(store, row, offset)

    monkeypatch.setattr(Store, "_place", watched)
    models.saved(1)
    evaluate(models.prepared, models.folder / "all_1_of_5", models.folder / "counts", models.folder / "reports")
    counted = pd.read_parquet(models.folder / "counts" / "images.parquet")
    assert set(counted["id"]) == tested and tested <= looked_at and not kept & looked_at


def test_what_the_vault_bears_out_is_promoted(models: Registry, many: Path) -> None:  # noqa: F811
    models.prepared = kept_back(many, models.folder / "vault")
    assert models.decide(1).outcome == "promote"  # the first champion is compared with nobody
    decision = models.decide(0)
    assert (decision.outcome, models.champion()) == ("promote", "2")
    assert decision.reason.endswith("; the vault bears it out") and receipt(models)["vault"] == "passed"


def test_what_the_vault_does_not_bear_out_is_not_and_asking_again_changes_nothing(models: Registry, many: Path) -> None:  # noqa: F811
    models.prepared = kept_back(many, models.folder / "vault", all_one)  # there, seeing class 1 everywhere is right
    sure = OPEN | {"false_promotions_per_year": 1.0, "gates_per_year": 3}
    models.decide(1, settings=sure)
    for day in (0, 200):
        decision = models.decide(0, settings=sure, today=NEW_YEAR + timedelta(days=day))
        assert (decision.outcome, models.champion()) == ("keep", "1")
        assert decision.reason.endswith("; but the vault does not bear it out") and receipt(models)["vault"] == "failed"
    [opening] = openings(models)
    assert (opening["asked"][:2], opening["day"], opening["passed"]) == (["2", "1"], "2026-01-01", False)


def test_it_is_opened_so_many_times_a_year_and_then_closed(models: Registry, many: Path) -> None:  # noqa: F811
    models.prepared = kept_back(many, models.folder / "vault", all_one)
    once = OPEN | {"vault_openings_per_year": 1, "false_promotions_per_year": 0.4, "gates_per_year": 1}
    models.decide(1, settings=once)
    assert models.decide(0, settings=once).outcome == "keep"
    models.prepared = models.folder / "vault" / "store"  # somebody has put its labels right: another question
    later = models.decide(0, settings=once, today=NEW_YEAR + timedelta(days=364))
    assert (later.outcome, models.champion()) == ("inconclusive", "1")
    assert "the vault may be opened again on 2027-01-01: 1 times a year" in later.reason
    more_often = models.decide(0, settings=once | {"vault_openings_per_year": 20}, today=NEW_YEAR + timedelta(days=364))
    assert more_often.outcome == "inconclusive"  # the one opening was given what the year had
    key = standing.decision_key(bundle.digest(models.folder / "all_0_of_5"), models.store.digest("test"), once)
    assert standing.decided("p", key) is None  # so that it is asked again then
    assert models.decide(0, settings=once, today=NEW_YEAR + timedelta(days=365)).outcome == "promote"


def test_a_vault_of_too_few_scenes_is_not_opened(models: Registry, many: Path) -> None:  # noqa: F811
    models.prepared = kept_back(many, models.folder / "vault")
    strict = OPEN | {"false_promotions_per_year": 0.1, "gates_per_year": 1, "vault_openings_per_year": 20}
    models.decide(1, settings=strict)
    decision = models.decide(0, settings=strict)
    assert decision.outcome == "inconclusive"
    assert "scenes, of which 12 are needed to tell anything; raise splits.vault, or label more" in decision.reason
    assert openings(models) == []


def test_a_question_that_was_cut_short_is_asked_again_and_counts_once(
    models: Registry,  # noqa: F811
    many: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models.prepared = kept_back(many, models.folder / "vault")
    once = OPEN | {"vault_openings_per_year": 1}
    models.decide(1, settings=once)

    def killed(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as cut:
        cut.setattr(gate, "passes_vault", killed)
        with pytest.raises(KeyboardInterrupt):
            models.decide(0, settings=once)
    assert models.champion() == "1"
    assert models.decide(0, settings=once).outcome == "promote"
