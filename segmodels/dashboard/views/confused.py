"""What a candidate takes for what, as a picture whose cells can be chosen: what was chosen last stands in the address."""

from collections.abc import Sequence

import streamlit as st

from segmodels.dashboard import charts, shown
from segmodels.dashboard.evaluated import Evaluated

Pair = tuple[int, int]
"""The index of the true class, and of the one that it is taken for."""


def show(evaluated: Evaluated, name: str, *, key: str) -> None:
    """A candidate's confusions; a cell of what is wrong that is clicked is chosen under a key of the address."""
    called = f"confusion-{key}-{evaluated.names.index(name)}"

    def cell_chosen() -> None:
        points = st.session_state[f"chart {called}"]["selection"]["points"]
        truth, predicted = (points[0].get("customdata") if points else None) or (0, 0)
        choose(key, None if truth == predicted else (int(truth), int(predicted)))

    figure = charts.confusion(evaluated.scores(name)["confusion"], evaluated.class_names)
    shown.chart(figure, called, f"confusions of {name}", on_select=cell_chosen, selection_mode="points")


def choose(key: str, pair: Pair | None) -> None:
    if pair is None:
        st.query_params.pop(key, None)
    else:
        st.query_params[key] = "-".join(map(str, pair))


def chosen(evaluated: Evaluated, key: str) -> Pair | None:
    """The pair that the address names."""
    parts = st.query_params.get(key, "").split("-")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) < len(evaluated.class_names) for part in parts):
        return None
    pair = int(parts[0]), int(parts[1])
    return None if pair[0] == pair[1] else pair


def told(evaluated: Evaluated, pair: Sequence[int]) -> str:
    truth, predicted = (shown.text(evaluated.class_names[index]) for index in pair)
    return f"{truth} taken for {predicted}"
