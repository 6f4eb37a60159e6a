"""`python -m study.measure SPACE`: makes the model-based measures that cut the axes of a space.

Run it before the sweep of the space. It runs the cells of the measures with the same blocks,
records and workers, and writes the measures to the run folder.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import fmean

from scipy.stats import spearmanr

from search_spaces.explain import count
from search_spaces.hardness import SCORES, ModelHardness
from search_spaces.registry import find_space
from search_spaces.space import Space
from study.artifacts.plan import write_plan
from study.cli import options
from study.cli.command import FAILED, OK, checking_input, command
from study.cli.console import show
from study.cli.pricing import load_pricing, rental_notes
from study.cost.budget import Budget, price_plan
from study.cost.flops import CPU_FLOP_PER_SECOND
from study.cost.jobs import PricingOptions, Timings, check_budget, check_memory
from study.cost.text import describe_cost
from study.formatting import Table, clock
from study.planning.hardness.files import HardnessFacts, forget_hardness, write_hardness
from study.planning.hardness.values import (
    HardnessSource,
    HardnessValues,
    NotMeasuredError,
    hardness_values,
)
from study.planning.hardness_cells import HardnessPlan, plan_hardness, wanted_hardness
from study.running.blocks import plan_units
from study.running.executor import missing_cells, run_cells
from study.running.outcomes import print_incomplete_cells
from study.running.pace import Pace
from study.tracking.tracker import open_tracker
from trainables.data.task import TaskData
from trainables.errors import CostError, UnavailableError
from trainables.storage import layout
from trainables.storage.filesystem import Storage, check_writable, open_storage
from trainables.storage.lock import held


@command(
    keeps="Finished cells",
    examples={
        "mdl": "Measure how hard the lab's models find each question, for the study mdl.",
        "hase2024_mdl --dry-run": "Print the cost of the measures of a published study.",
    },
)
def main(
    space_name: options.SpaceName,
    out: options.Out = "runs/",
    data_root: options.DataRoot = None,
    skip_bad_rows: options.SkipBadRows = False,
    address: options.Address = None,
    dry_run: options.DryRun = False,
    max_cost: options.MaxCost = None,
    prices: options.Prices = None,
    instance: options.Instance = None,
) -> int:
    """Makes the model-based measures that cut a space's axes: run it before the space's sweep.

    Runs every missing cell of the measures, then writes the measures to the run folder.

    Exit status: 0 done, 1 a cell failed or the run folder became unavailable, 2 bad input (no work
    was started), 130 stopped by Ctrl-C, 143 by SIGTERM, 129 by a closed terminal.
    """
    with checking_input():
        space = find_space(space_name)
        storage = open_storage(out)
        pricing = load_pricing(prices, instance, address=address, max_cost=max_cost)
        plan_measures = partial(plan_hardness, space, data_root, skip_bad_rows=skip_bad_rows)
        if dry_run:
            return _dry_run(space, plan_measures, pricing, max_cost)
        plan = plan_measures()
        check_writable(storage)
    with held(storage):
        return make_measures(plan, storage, pricing, address=address, max_cost=max_cost)


def make_measures(
    planned: HardnessPlan,
    storage: Storage,
    pricing: PricingOptions,
    *,
    address: str | None = None,
    max_cost: float | None = None,
) -> int:
    """Runs the missing cells and writes every measure whose cells are complete.

    Args:
        planned: The cells and the measures that need them.
        storage: The run folder.
        pricing: What nodes cost.
        address: Address of a Ray cluster, None for the surrounding or a local one, or `in-process`.
        max_cost: Budget for the missing cells, $; None: no limit.

    Returns:
        The exit status.

    Raises:
        ClusterError: If the cluster is unreachable or too small for a block; before any file is
            written.
        CostError: If the missing cells exceed the budget or the memory; before any file is written.
    """
    plan, timings = planned.plan, Timings()
    pace = Pace(plan_units(plan))
    missing = missing_cells(storage, plan.cells, timings, pace)
    budget = Budget(plan, missing, pricing, timings, max_cost)
    print(describe(planned, num_finished=len(plan.cells) - len(missing)), flush=True)
    with open_tracker(storage, plan, missing) as tracker:
        write = partial(write_plan, storage, plan)
        run_cells(
            plan,
            planned.inputs,
            storage,
            missing,
            tracker.log_cell,
            pace=pace,
            address=address,
            write=write,
            budget=budget,
        )
    made = [_make(planned, storage, source) for source in planned.sources]
    has_failed = print_incomplete_cells(storage, plan.cells)
    return OK if all(made) and not has_failed else FAILED


def _make(planned: HardnessPlan, storage: Storage, source: HardnessSource) -> bool:
    """Writes one measure and prints its result; otherwise prints why it could not be made."""
    task = planned.inputs.tasks[source.task]
    try:
        hardness = hardness_values(storage, task, source)
    except NotMeasuredError as error:
        forget_hardness(storage, source)
        print(f"NOT MADE {source.hardness.name} of {source.task}: {error}", file=sys.stderr)
        return False
    seed = planned.plan.space.study_seed
    facts = write_hardness(storage, source, hardness, data_hash=task.data.data_hash, seed=seed)
    show("", *_result(task.data, facts, hardness))
    print(f"  written   {storage.path(layout.measure_values(source.task, source.hardness.name))}")
    return True


def describe(planned: HardnessPlan, *, num_finished: int | None = None) -> str:
    """Returns the measures and their cells as text for the terminal."""
    plan = planned.plan
    lines = [f"Space {plan.space.name}"]
    for source, facts in zip(planned.sources, plan.tasks, strict=True):
        hardness = source.hardness
        lines += [
            f"  task      {facts.task} by {hardness.name}: {facts.source}",
            f"            data {facts.data_hash[:12]}, {count(facts.num_test, 'item')}, each "
            "scored by models that were not trained on it",
            f"            {_how(hardness)}, by {', '.join(source.contents)}",
            *(f"            note: {note}" for note in facts.notes),
        ]
    methods = Counter(cell.cell.recipe.method for cell in plan.cells)
    return "\n".join(
        [
            *lines,
            f"  cells     {len(plan.cells)} distinct: "
            + ", ".join(f"{number} {method}" for method, number in methods.items()),
            *([] if num_finished is None else [f"  finished  {num_finished}"]),
            f"  work      {plan.flop:.2g} FLOP, about "
            f"{clock(plan.flop / CPU_FLOP_PER_SECOND)} of one CPU core (a guess)",
        ]
    )


def _dry_run(
    space: Space,
    plan_measures: Callable[[], HardnessPlan],
    pricing: PricingOptions,
    max_cost: float | None,
) -> int:
    """Prints the plan, and its price if data and weights are available."""
    try:
        planned = plan_measures()
    except UnavailableError as error:
        print(_describe_from_space(space, str(error)))
        if max_cost is not None:
            raise CostError(
                f"--max-cost {max_cost:g} cannot be enforced: the cost is unknown without data "
                "and weights"
            ) from error
        return OK
    cost = price_plan(planned.plan, pricing)
    notes = rental_notes(cost, pricing, space)
    print("\n".join([describe(planned), *describe_cost(cost), *notes]))
    check_memory(cost)
    check_budget(cost, max_cost)
    return OK


def _describe_from_space(space: Space, reason: str) -> str:
    """Returns the plan, counted from the space alone."""
    lines, cells = [], set()
    for task, hardness in wanted_hardness(space):
        names = [model.name for model in hardness.models]
        lines.append(
            f"  task      {task} by {hardness.name}: {_how(hardness)}, by {', '.join(names)}"
        )
        for size in (0, *hardness.sizes):
            draws = range(hardness.seeds if size else 1)
            recipe = hardness.recipe(size).model_dump_json()
            cells |= {(task, name, recipe, draw) for name in names for draw in draws}
    head = [f"Space {space.name}.measures: NOT CHECKED, no ids", f"  reason    {reason}"]
    return "\n".join([*head, *lines, f"  cells     {len(cells):,} distinct"])


def _how(hardness: ModelHardness) -> str:
    sizes = ", ".join(str(size) for size in (0, *hardness.sizes))
    draws = f", {count(hardness.seeds, 'draw')} each" if hardness.sizes else ""
    return f"{hardness.method.method}, sizes {sizes}{draws}"


def _result(
    task: TaskData, facts: HardnessFacts, hardness: HardnessValues
) -> Iterator[str | Table]:
    """Yields the means by model, and the rank correlations with the task's own measures."""
    name = facts.hardness.name
    codes = [hardness.values[f"{name}:{score}"] for score in SCORES]
    without = f"{facts.num_without:,} of {facts.num_items:,} items have no value"
    yield f"{name} of {task.name}: {count(len(codes[0]), 'value')}; {without}"
    means = [
        (
            model,
            *(
                f"{fmean(hardness.values[f'{name}:{score}:{model}'].values()):.3f}"
                for score in SCORES
            ),
        )
        for model in facts.contents
    ]
    yield Table(header=("mean by", *SCORES), rows=means, numbers=SCORES)
    correlations: list[tuple[str, ...]] = [
        (measure, *(_spearman(values, code) for code in codes))
        for measure, values in task.measures.items()
    ]
    correlations.append((f"{name}:{SCORES[0]}", "", _spearman(*codes)))
    yield ""
    yield Table(header=("Spearman with", *SCORES), rows=correlations, numbers=SCORES)


def _spearman(first: Mapping[str, float], second: Mapping[str, float]) -> str:
    both = sorted(first.keys() & second.keys())
    ours, theirs = [first[id_] for id_ in both], [second[id_] for id_ in both]
    if len(set(ours)) < 2 or len(set(theirs)) < 2:
        return "constant"
    return f"{spearmanr(ours, theirs).statistic:+.3f}"


if __name__ == "__main__":
    sys.exit(main())
