"""dvc.yaml: every stage depends on the modules it runs on, so that no result outlives a change of its code."""

import ast
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

from segmodels import catalog, params
from tests.conftest import REPOSITORY

STAGES: dict[str, Any] = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
CATALOGS = ("formats", "augmentations", "architectures", "losses", "schedules")


def code_of(stage: str) -> set[Path]:
    """The modules a stage lists."""
    definition = STAGES[stage].get("do", STAGES[stage])
    return {Path(dep) for dep in definition["deps"] if dep.startswith("segmodels/")}


TELLING = {"segmodels.progress", "segmodels.tracking"}
"""What only says how a stage is going: another way of saying it needs no new results."""


def imported_by_verb(stage: str) -> set[str]:
    """The modules that the verb of a stage begins with, but for those that only tell."""
    tree = ast.parse((REPOSITORY / "segmodels" / "__main__.py").read_text())
    [verb] = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == stage]
    found = set()
    for node in ast.walk(verb):
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None
            whole = node.module == "segmodels"
            found |= {f"segmodels.{one.name}" for one in node.names} if whole else {node.module}
    return found - TELLING


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("segmodels", exclude_type_checking_imports=True, cache_dir=None)


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_lists_the_modules_it_imports_and_no_others(graph: grimp.ImportGraph, stage: str) -> None:
    begun = imported_by_verb(stage)
    assert f"segmodels.{stage}" in begun
    catalogs = {path.parts[1] for path in code_of(stage)}.intersection(CATALOGS)
    begun |= {f"segmodels.{kind}.{name}" for kind in catalogs for name in catalog.names(kind)}
    needed = begun.union(*(graph.find_upstream_modules(module) for module in begun))
    files = {Path(*name.split(".")).with_suffix(".py") for name in needed if name != "segmodels"}
    listed = {path for path in code_of(stage) if path.parts[1] not in CATALOGS}
    assert listed == {path for path in files if path.parts[1] not in CATALOGS}


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_lists_the_catalogs_that_it_builds_from(graph: grimp.ImportGraph, stage: str) -> None:
    """Components are found by name, which no import shows: look for the calls instead."""
    built = set()
    for path in code_of(stage):
        if path.suffix != ".py" or not (REPOSITORY / path).is_file():
            continue
        for node in ast.walk(ast.parse((REPOSITORY / path).read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("build", "load"):
                built |= {one.value for one in node.args[:1] if isinstance(one, ast.Constant) and one.value in CATALOGS}
    # a bundle names its architecture itself; a dataset its format
    listed = {path.parts[1] for path in code_of(stage) if path.parts[1] in CATALOGS}
    optional = {"formats"} if stage in ("evaluate", "compare") else set()
    optional |= {"architectures"} if stage == "compare" else set()  # imports, but never loads a bundle
    assert built - optional == listed


@pytest.mark.parametrize("name", [name for kind in CATALOGS for name in [f"{kind}/{n}" for n in catalog.names(kind)]])
def test_a_component_imports_only_what_every_stage_that_uses_it_lists(graph: grimp.ImportGraph, name: str) -> None:
    module = f"segmodels.{name.replace('/', '.')}"
    kind = name.split("/")[0]
    needed = {Path(*one.split(".")).with_suffix(".py") for one in graph.find_upstream_modules(module)}
    for stage in STAGES:
        listed = code_of(stage)
        if any(path.parts[1] == kind for path in listed):
            folders = {path for path in listed if path.suffix == ""}
            missing = {
                path for path in needed if path not in listed and path.parent not in folders and path.name != "__init__.py"
            }
            assert {path for path in missing if path.parts[1:] != ("segmodels.py",)} == set()


def test_every_param_that_a_stage_names_must_stand_in_the_file() -> None:
    """DVC knows no defaults: it refuses a stage whose params the file does not have."""
    named = {name for definition in STAGES.values() for name in definition.get("do", definition).get("params", [])}
    for name in named:
        here: Any = params.Params
        for part in name.split("."):
            if part == "${key}":
                break
            field = here.model_fields[part]
            assert field.is_required(), name
            here = field.annotation
