"""Any space in a file of the user: planned where each field follows its rule, else refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import search_spaces.recipes
import search_spaces.space
import search_spaces.supervision
from tests.fuzz.harness import BAD_INPUT, Tally, accepted, examples, refused
from tests.fuzz.space_fields import ALSO_GOOD, BASE, CLASSES, FIELDS, TOGETHER, Parts
from tests.fuzz.space_folder import Folder, edited, text_of

commands = st.sampled_from(["sweep", "plan"])


def classes() -> Mapping[str, Any]:
    rooms = (search_spaces.space, search_spaces.recipes, search_spaces.supervision)
    return {name: value for room in rooms for name, value in vars(room).items()}


def test_every_field_of_a_space_is_drawn() -> None:
    for part, name in CLASSES.items():
        undrawn = set(classes()[name].model_fields) - set(FIELDS[part]) - {"method"}
        assert undrawn == set(), f"FIELDS[{part!r}] says nothing of these fields of {name}"


@st.composite
def good_spaces(draw: st.DrawFn) -> Parts:
    """A space in which some fields have other values that they may have."""
    parts = BASE
    for part in draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=6)):
        may = sorted(field for field, (values, _) in FIELDS[part].items() if values)
        field = draw(st.sampled_from(may))
        parts = edited(parts, {part: {field: draw(st.sampled_from(FIELDS[part][field][0]))}})
    return parts


@pytest.mark.parametrize("way", ALSO_GOOD)
def test_fields_that_go_together_are_planned(way: str, folder: Folder) -> None:
    accepted(folder.run(text_of(edited(BASE, ALSO_GOOD[way])), "plan"))


SAYS = {("hardness", "models"): ("twice",)}
"""What a message may say of a field that it does not name."""


@pytest.mark.parametrize("part", FIELDS)
def test_a_field_with_a_wrong_value_is_refused(part: str, folder: Folder) -> None:
    # Every value once: they are few, and cheap to refuse.
    unnamed = []
    for field, (_, values) in FIELDS[part].items():
        for value in values:
            outcome = folder.run(text_of(edited(BASE, {part: {field: value}})), "sweep")
            named = (field, value.strip("'(,)"), *SAYS.get((part, field), ()))
            if outcome.status != BAD_INPUT or not any(name in outcome.err for name in named):
                unnamed.append((field, value, outcome.err))
    assert unnamed == []


@pytest.mark.parametrize("fault", TOGETHER)
def test_fields_that_do_not_go_together_are_refused(fault: str, folder: Folder) -> None:
    edits, named = TOGETHER[fault]
    for command in ("sweep", "plan"):
        refused(folder.run(text_of(edited(BASE, edits)), command), named)


whole = st.integers(max_value=0) | st.floats(allow_infinity=False).filter(lambda x: x % 1 != 0)

WRONG: Mapping[str, st.SearchStrategy[Any]] = {
    "space.seeds": whole,
    "lora.epochs": whole,
    "ssrm.rounds": whole,
    "space.study_seed": st.integers(max_value=-1),
    "space.level": st.floats(max_value=0.5) | st.floats(1),
    "labels.rate": st.floats(max_value=-1e-9) | st.floats(1, exclude_min=True),
    "training.threshold": st.floats(max_value=-1e-9) | st.floats(1, exclude_min=True),
    "lora.learning_rate": st.floats(max_value=0),
    "easy.low": st.floats(2, exclude_min=True),
    "space.name": st.text(max_size=8).map(lambda text: f"{text}/"),
    "space.split": st.text().filter(lambda text: text not in ("frozen", "paper")),
    "model.name": st.text(max_size=8).map(lambda text: f"micro {text}"),
    "axis.measure": st.text(max_size=8).map(lambda text: f"no {text}"),
    "axis.task": st.text(max_size=8).map(lambda text: f"no {text}"),
    "first.method": st.text(max_size=8).map(lambda text: f"no {text}"),
    "model.odd": st.just(1),
    "space.nmae": st.just("x"),
}
"""Values of any size that a field may not have, whatever the others are."""


@st.composite
def bad_spaces(draw: st.DrawFn) -> tuple[Parts, str]:
    """A good space of which a field was then given a wrong value, and that field."""
    wrong = draw(st.sampled_from(sorted(WRONG)))
    part, _, field = wrong.partition(".")
    return edited(draw(good_spaces()), {part: {field: repr(draw(WRONG[wrong]))}}), field


def test_any_space_is_planned_or_refused_as_it_is(folder: Folder) -> None:
    tally = Tally()

    @examples(60)
    @given(parts=good_spaces(), command=commands)
    def check_good(parts: Parts, command: str) -> None:
        outcome = folder.run(text_of(parts), command)
        tally[outcome.status] += 1
        accepted(outcome)

    @examples(90)
    @given(case=bad_spaces(), command=commands)
    def check_bad(case: tuple[Parts, str], command: str) -> None:
        parts, wrong = case
        outcome = folder.run(text_of(parts), command)
        tally[outcome.status] += 1
        refused(outcome, wrong)

    check_good()
    check_bad()
    tally.check(ok=0.2, refused=0.3)
