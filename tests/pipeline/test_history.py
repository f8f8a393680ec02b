"""The versions of a registry, and the way back to one of them."""

from pathlib import Path

import pytest

from flows import registry
from flows.rollback import rollback
from segmodels import bundle
from segmodels.errors import BundleError, InputError
from segmodels.records import versions
from tests.pipeline.test_registry import OPEN, Registry, models  # noqa: F401  a fixture


def test_what_became_of_each_version_is_listed(models: Registry) -> None:  # noqa: F811
    assert versions("p") == []
    models.decide(1)
    models.decide(0, settings=OPEN | {"false_promotions_per_year": 0.05})
    second, first = versions("p")
    assert (first.version, first.candidate, first.outcome, first.aliases) == (
        1,
        "all_1_of_5",
        "promote",
        ("best-ever", "champion"),
    )
    assert (second.version, second.outcome, second.aliases) == (2, "inconclusive", ())
    assert first.registered <= second.registered
    assert second.reason is not None and "seems better" in second.reason


def test_the_way_back_is_to_the_champion_before_or_to_any_version(models: Registry) -> None:  # noqa: F811
    with pytest.raises(InputError, match="there is no champion to go back from"):
        rollback("p")
    models.decide(1)
    with pytest.raises(InputError, match="version 1 was the first champion; name one"):
        rollback("p")
    models.decide(0)
    models.decide(0)  # the champion itself again: what was before it stays so
    assert rollback("p") == ("2", "1")
    assert models.champion() == "1"
    with pytest.raises(InputError, match="version 1 was the first champion"):  # not forth again, for who goes back twice
        rollback("p")
    assert rollback("p", "2") == ("1", "2")
    with pytest.raises(InputError, match="VERSION: 2 is the champion already"):
        rollback("p", "2")
    assert models.decide(0, settings=OPEN | {"min_miou": 0.01}).outcome == "promote"  # nobody went back from it
    with pytest.raises(InputError, match="VERSION: 7 is none of p; there are 1, 2"):
        rollback("p", "7")
    assert models.champion() == "2"


def test_nobody_is_sent_to_what_is_damaged_or_was_never_decided(models: Registry) -> None:  # noqa: F811
    models.decide(1)
    models.decide(0)
    models.client.set_model_version_tag("p", "1", "segmodels.bundle_sha256", "0" * 64)
    with pytest.raises(BundleError, match="is not the bundle that was registered"):
        rollback("p")
    models.client.delete_model_version_tag("p", "1", "segmodels.verdict")
    with pytest.raises(InputError, match="nothing was decided about 1"):
        rollback("p")
    assert models.champion() == "2"


def test_a_version_is_fetched_by_its_number_or_as_the_champion(models: Registry, tmp_path: Path) -> None:  # noqa: F811
    models.decide(1)
    for named in ("1", "champion"):
        held = registry.fetch(registry.version_of("p", named), tmp_path / named)
        assert held.sha256 == bundle.load(tmp_path / named).sha256 == bundle.digest(models.folder / "all_1_of_5")
    with pytest.raises(InputError, match="7: is no version of p; there are 1"):
        registry.version_of("p", "7")
    with pytest.raises(InputError, match="champion: is no version of q; there are none yet"):
        registry.version_of("q", "champion")
