"""How long work is watched: whoever does it passes what comes through a `Progress`, whoever started it says which."""

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

Progress = Callable[[Iterable[T], str, int], Iterable[T]]
"""Passes things through while showing how far it has come; told what is being done, and how many there will be."""


def silent(items: Iterable[T], _: str, __: int) -> Iterable[T]:
    """The Progress that shows nothing."""
    return items
