"""YAML within bounds."""

import pytest
import yaml

from segmodels import safe_yaml


def test_plain_values_and_what_is_brought_in_are_read() -> None:
    text = "a: &common {x: 1, y: [2, 3]}\nb: {<<: *common, x: 4}\nc: 1.5\n"
    assert safe_yaml.load(text) == {"a": {"x": 1, "y": [2, 3]}, "b": {"x": 4, "y": [2, 3]}, "c": 1.5}
    assert safe_yaml.load("") is None


def test_a_few_lines_that_stand_for_billions_are_refused() -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    with pytest.raises(yaml.YAMLError, match="more than 200,000 values once its aliases are written out"):
        safe_yaml.load("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: !!python/object/apply:os.system ['touch harmed']", "could not determine a constructor"),
        ("a: 1\na: 2", "key 'a' stands twice at line 2"),
        ("a: &a [*a]", "more than 200,000 values"),
        ("[" * 3000 + "]" * 3000, "nested too deep"),
        ("a: [1", "expected"),
        ("? [1, 2]\n: 3", "a key at line 1 is a list or a mapping; expected a word"),
        ("a: 2024-02-30", "holds what is no value"),
        (f"a: {'9' * 5000}", "holds what is no value"),
    ],
)
@pytest.mark.unhurried
def test_anything_else_is_refused(text: str, told: str) -> None:
    with pytest.raises(yaml.YAMLError, match=told):
        safe_yaml.load(text)
