"""Finds a component by its file's name: `architectures/unet.py` is "unet". No list to edit, no decorator."""

import ast
import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from segmodels.errors import ParamsError


def names(folder: str) -> list[str]:
    """The names of all components of one folder ("architectures", "losses", ...), sorted. Imports none of them."""
    package = importlib.import_module(f"segmodels.{folder}")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def load(folder: str, name: str) -> ModuleType:
    """The module of one component.

    Raises:
        ParamsError: no file of that name; says the nearest one and lists all.
    """
    check(folder, name)
    return importlib.import_module(f"segmodels.{folder}.{name}")


def check(folder: str, name: str) -> None:
    """Refuse a name that no file has, without importing the file."""
    known = names(folder)
    if name not in known:
        raise ParamsError(f"{folder}: there is no {name!r}{nearest(name, known)}; there are: {', '.join(known)}")


def build(folder: str, name: str, /, *args: Any, options: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    """Call a component's `build`, with a person's `options` checked against its signature first.

    Raises:
        ParamsError: an option that `build` does not take; says which ones it takes.
    """
    check_options(folder, name, options or {})
    return load(folder, name).build(*args, **kwargs, **(options or {}))


def check_options(folder: str, name: str, options: dict[str, Any]) -> None:
    """Refuse options that the component's `build` has no keyword for, without importing it."""
    check(folder, name)
    taken = options_of(folder, name)
    for key in options:
        if key not in taken:
            allowed = ", ".join(sorted(taken)) or "none"
            raise ParamsError(f"{folder}.{name} has no option {key!r}{nearest(key, taken)}; its options are: {allowed}")


def options_of(folder: str, name: str) -> set[str]:
    """The keywords a person may set: the keyword-only parameters with a default of the component's `build`.

    Read from the source, so that checking params.yaml does not import torch.
    """
    source = Path(importlib.import_module(f"segmodels.{folder}").__path__[0], f"{name}.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == "build":
            keywords = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            return {argument.arg for argument, default in keywords if default is not None}
    raise AssertionError(f"segmodels/{folder}/{name}.py has no build()")


def nearest(word: str, known: Iterable[str]) -> str:
    """', did you mean "unet"?' or nothing when no name is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""
