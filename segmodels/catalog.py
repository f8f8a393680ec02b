"""Finds a component by its file's name: `architectures/unet.py` is "unet". No list to edit, no decorator."""

import ast
import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from segmodels.errors import ParamsError

KEYS_OF_THEIR_OWN = {"encoder", "weights"}
"""Keywords of an architecture that a candidate gives beside its options."""


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
        ParamsError: an option that `build` does not take, or not with this value; says what it takes.
    """
    return load(folder, name).build(*args, **kwargs, **checked_options(folder, name, options or {}))


def checked_options(folder: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options as the types that the keywords of the component's `build` have. Does not import it.

    Raises:
        ParamsError: there is no such keyword, or the value is of another type.
    """
    check(folder, name)
    taken = {key: one for key, one in _keywords(folder, name).items() if key not in KEYS_OF_THEIR_OWN}
    return {key: _checked(f"{folder}.{name}", key, value, taken) for key, value in options.items()}


def _checked(where: str, key: str, value: Any, taken: dict[str, "_Keyword"]) -> Any:
    if key not in taken:
        allowed = ", ".join(sorted(taken)) or "none"
        raise ParamsError(f"{where} has no option {key!r}{nearest(key, taken)}; its options are: {allowed}")
    try:
        return TypeAdapter(taken[key].type).validate_python(value)
    except ValidationError as error:
        raise ParamsError(f"{where}: {key} is {value!r}; expected {_in_words(taken[key].annotation)}") from error


def default(folder: str, name: str, keyword: str) -> Any:
    """What the component's `build` takes for a keyword that is not given.

    Raises:
        ParamsError: no file of that name.
    """
    check(folder, name)
    return ast.literal_eval(_keywords(folder, name)[keyword].default)


@dataclass(frozen=True)
class _Keyword:
    """A keyword-only parameter with a default: what a person may set."""

    annotation: ast.expr
    default: ast.expr

    @property
    def type(self) -> Any:
        """Of the built-in types, Sequence and Literal: what YAML can hold."""
        known = {"Literal": Literal, "Sequence": Sequence}
        return eval(ast.unparse(self.annotation), known)  # noqa: S307 what our own source says


def _in_words(annotation: ast.expr) -> str:
    """A type as people say it: `Sequence[int] | None` is "a list, each a whole number or null"."""
    match annotation:
        case ast.BinOp(left=left, right=right):
            return f"{_in_words(left)} or {_in_words(right)}"
        case ast.Subscript(value=ast.Name(id="Literal"), slice=values):
            *others, last = [ast.unparse(one) for one in (values.elts if isinstance(values, ast.Tuple) else [values])]
            return f"{', '.join(others)} or {last}" if others else last
        case ast.Subscript(value=ast.Name(id="Sequence"), slice=item):
            return f"a list, each {_in_words(item)}"
        case ast.Name(id=name):
            return {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}[name]
        case ast.Constant(value=None):
            return "null"
    raise AssertionError(f"no words for the type {ast.unparse(annotation)}")


def _keywords(folder: str, name: str) -> dict[str, _Keyword]:
    """Those of the component's `build`, read from the source, so that checking params.yaml does not import torch."""
    source = Path(importlib.import_module(f"segmodels.{folder}").__path__[0], f"{name}.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == "build":
            pairs = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            return {one.arg: _Keyword(_known(one.annotation), default) for one, default in pairs if default is not None}
    raise AssertionError(f"segmodels/{folder}/{name}.py has no build()")


def _known(annotation: ast.expr | None) -> ast.expr:
    assert annotation is not None, "a keyword of build() has no type"
    return annotation


def nearest(word: str, known: Iterable[str]) -> str:
    """', did you mean "unet"?' or nothing when no name is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""
