"""Recipe searches: their trials, and SGR with the default and with the found recipe."""

from __future__ import annotations

from collections.abc import Iterator

from search_spaces.explain import count
from study.analysis.names import outcome
from study.analysis.surface_rows import recipe_text
from study.analysis.tuned_recipes import RecipePair, TunedRecipe
from study.formatting import percent
from study.reporting.charts.filters import Filters, of_point
from study.reporting.charts.scatter import ScatterMark, trial_chart
from study.reporting.content import Content
from study.reporting.sections.section import Block, Heading, Section
from study.reporting.tables import PageColumn, PageTable, make_table, text_column
from study.tuning.results import parameters_text, standard_error, winner
from trainables.tuning.optuna_sampler import importances


def recipe_search_section(content: Content) -> Section | None:
    """Returns the searches of a study; None without one."""
    if not content.searches:
        return None
    blocks: list[Block] = [
        "These recipes were searched on labelled items of the easiest level before the study; no "
        "hard label and no test item was used."
    ]
    for number, tuned in enumerate(content.searches, start=1):
        label = content.labels.get(recipe_text(tuned.recipe), tuned.recipe.method)
        blocks += [Heading(text=label), *_search(number, tuned)]
    if content.recipe_pairs:
        blocks += [
            "The search used easy labels only, but its recipe also trains the hard arm. If the "
            "recipe suits hard labels less, the hard arm is under-tuned, and a smaller gap raises "
            "SGR. Compare the accuracies: a rise in SGR with a fall in hard accuracy is no "
            "evidence for easy labels.",
            _pair_table(content.recipe_pairs),
        ]
    return Section(name="searches", title="Recipe search", label="Recipe search", blocks=blocks)


def search_text(tuned: TunedRecipe) -> str:
    """Returns the result and the cost of a search in a few sentences."""
    found = tuned.found
    best = None if found is None else winner(found.history)
    if found is None or best is None or best.value is None:
        return (
            f"The file of search {tuned.search} is not in the run folder, so no trials are shown."
        )
    history = found.history
    error = standard_error(best.value, history.num_validation)
    num_failed = sum(trial.state == "failed" for trial in history.trials)
    return (
        f"Found for {found.model_name} on {history.task} by {history.measure}: "
        f"{parameters_text(best.parameters)}. Of {history.num_validation} validation items of "
        f"level {history.level.name} {100 * best.value:.1f} % were right (standard error "
        f"{100 * error:.1f}; the best of {count(len(history.trials), 'trial')} is an optimistic "
        f"estimate). Stopped early: {history.num_pruned}, failed: {num_failed}. Labels that the "
        f"search counted: {found.num_labels} ({history.num_labelled} to train on, "
        f"{history.num_validation} to validate with); they are paid for once."
    )


def _search(number: int, tuned: TunedRecipe) -> Iterator[Block]:
    found = tuned.found
    trials = [] if found is None else [trial for trial in found.history.trials if trial.values]
    if found is None or not trials:
        yield search_text(tuned)
        return
    history, table = found.history, f"trials-{number}"
    filters = Filters(model=found.model_name, method=history.start.method, task=history.task)
    shares, best = importances(history), winner(history)
    states = {
        id(trial): "found"
        if trial == best
        else "completed"
        if trial.state == "complete"
        else "stopped early"
        for trial in trials
    }
    marks = [
        ScatterMark(
            filters=filters,
            panel=f"{name}, importance {100 * shares[name]:.0f} %" if name in shares else name,
            value=_shown(trial.parameters[name]),
            right=100.0 * trial.values[-1],
            state=states[id(trial)],
        )
        for name in history.ranges
        for trial in trials
    ]
    yield trial_chart(
        f"search-{tuned.search}",
        marks,
        title="Validation accuracy against each hyper-parameter",
        quote=search_text(tuned),
        reading="A point per trial; diamonds: the found recipe.",
        table=table,
    )
    yield make_table(
        table,
        "Trials of the search",
        (
            *(_parameter_column(name) for name in history.ranges),
            PageColumn("validation items right %", "percent", lambda trial: trial.values[-1]),
            text_column("state", lambda trial: states[id(trial)]),
        ),
        trials,
        lambda _: filters,
    )


def _parameter_column(name: str) -> PageColumn:
    return text_column(name, lambda trial: f"{_shown(trial.parameters[name])}")


def _shown(value: object) -> str | int | float:
    if isinstance(value, tuple):
        return "+".join(map(str, value))
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _pair_table(pairs: tuple[RecipePair, ...]) -> PageTable:
    return make_table(
        "recipe-pairs",
        "SGR with the default and with the found recipe",
        (
            text_column("model", lambda pair: pair.searched.point.model),
            text_column(
                "task",
                lambda pair: f"{pair.searched.point.task} by {pair.searched.point.measure}",
            ),
            text_column("point", _pair_point),
            text_column("default -> found", lambda pair: pair.changes or "the same values"),
            text_column(
                "source %", lambda p: f"{percent(p.default.easy)} -> {percent(p.searched.easy)}"
            ),
            text_column(
                "hard %", lambda p: f"{percent(p.default.hard)} -> {percent(p.searched.hard)}"
            ),
            text_column("SGR, default", lambda pair: outcome(pair.default)),
            text_column("SGR, found", lambda pair: outcome(pair.searched)),
        ),
        pairs,
        lambda pair: of_point(pair.searched),
    )


def _pair_point(pair: RecipePair) -> str:
    point = pair.searched.point
    return f"{point.recipe.method}, {point.source} -> {point.test_level.name}"
