"""Why stages are due, in words: DVC's own account of it, read to people."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

HOW = {"modified": "has changed", "new": "is new", "deleted": "is gone", "not in cache": "is not in DVC's cache"}


def told(account: Iterable[Any]) -> tuple[str, ...]:
    """What `dvc status` says of one stage, a phrase each: `data/raw has changed`, `params.yaml: training.seed has changed`.

    Args:
        account: `[{"changed deps": {"data/raw": "modified", "params.yaml": {"training.seed": "modified"}}}, "changed command"]`
    """
    return tuple(phrase for part in account for phrase in _phrases(part))


def _phrases(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield {"changed command": "its command has changed", "always changed": "it always runs"}.get(part, part)
        return
    for changed in part.values():
        for path, state in changed.items():
            if isinstance(state, Mapping):
                yield from (f"{path}: {key} {HOW.get(one, one)}" for key, one in state.items())
            else:
                yield f"{path} {HOW.get(state, state)}"
