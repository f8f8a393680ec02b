"""YAML as data alone, within bounds: no objects, no key twice, and no file of a few lines that stands for millions."""

from typing import Any

import yaml

MAX_VALUES = 200_000
"""What a file may hold once its aliases are written out."""


def load(text: str) -> Any:
    """The plain values that a text holds.

    Raises:
        yaml.YAMLError: it is no YAML, has a key twice, names an object, or holds too much.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _written_out(node, {}) > MAX_VALUES:
            raise yaml.YAMLError(f"holds more than {MAX_VALUES:,} values once its aliases are written out")
        return loader.construct_document(node)
    except RecursionError as error:
        raise yaml.YAMLError("is nested too deep") from error
    except ValueError as error:  # of a date that there is not, or a number of thousands of digits
        raise yaml.YAMLError(f"holds what is no value ({error})") from error
    finally:
        loader.dispose()


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node comes to; `known` keeps what was counted, by the node's identity."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = MAX_VALUES + 1  # what holds itself has no end
    children: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    elif isinstance(node, yaml.MappingNode):
        children = [one for pair in node.value for one in pair]
    known[id(node)] = 1 + sum(_written_out(one, known) for one in children)
    return known[id(node)]


class _Loader(yaml.SafeLoader):
    """YAML takes the last of two equal keys in silence; a candidate would vanish."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)  # as it is written: what `<<` brings in may stand twice, and gives way
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"a key at line {key.start_mark.line + 1} is a list or a mapping; expected a word")
            if (key.tag, key.value) in seen:
                raise yaml.YAMLError(f"key {key.value!r} stands twice at line {key.start_mark.line + 1}")
            seen.add((key.tag, key.value))
        return node
