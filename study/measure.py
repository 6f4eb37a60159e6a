"""`python -m study.measure SPACE`: the model-based measures that a space's axes are cut by.

It comes before the sweep of the space: it runs the cells that the measures need, through the same
blocks, records and workers, and leaves the measures in the run folder.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from scipy.stats import spearmanr

from search_spaces.hardness import SCORES, ModelHardness
from search_spaces.registry import find_space
from search_spaces.space import Space
from study.artifacts.plan import write_plan
from study.cli import (
    add_data_flags,
    add_max_cost_flag,
    add_pricing_flags,
    load_pricing,
    refuse,
    run_command,
)
from study.console import command
from study.cost.budget import Budget, price_plan
from study.cost.flops import CPU_FLOP_PER_SECOND
from study.cost.jobs import PricingOptions, Timings, check_budget, check_memory
from study.cost.text import describe_cost
from study.formatting import aligned, clock
from study.planning.hardness.files import HardnessFacts, forget_hardness, write_hardness
from study.planning.hardness.values import (
    HardnessSource,
    HardnessValues,
    NotMeasuredError,
    hardness_values,
)
from study.planning.hardness_cells import HardnessPlan, plan_hardness, wanted_hardness
from study.running.executor import (
    CELLS_FAILED,
    OK,
    STATUS_OF_SIGNALS,
    exit_status,
    missing_cells,
    run_cells,
)
from study.tracking.tracker import open_tracker
from trainables.cluster.capacity import IN_PROCESS
from trainables.data.task import TaskData
from trainables.errors import CostError, UnavailableError
from trainables.storage import layout
from trainables.storage.filesystem import Storage, check_writable, open_storage
from trainables.storage.lock import held


@command(needs_output=False)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status.

    0: every measure is there. 1: a cell failed, and what needs it is not there, or the run folder
    did not answer any more. 2: bad input, nothing was started. 130, 143, 129: stopped by Ctrl-C, by
    SIGTERM, by a closed terminal; the next run goes on from there.
    """
    options = _parser().parse_args(arguments)
    return run_command(lambda: _run(options), out=options.out)


def _run(options: argparse.Namespace) -> int:
    try:
        space = find_space(options.space)
        storage = open_storage(options.out)
        pricing = load_pricing(
            options.prices, options.instance, address=options.address, max_cost=options.max_cost
        )
        if options.dry_run:
            return _dry_run(space, options, pricing)
        plan = plan_hardness(space, options.data_root, skip_bad_rows=options.skip_bad_rows)
        check_writable(storage)
    except (OSError, ValueError) as error:
        return refuse(error)
    with held(storage):
        return make_measures(
            plan, storage, pricing, address=options.address, max_cost=options.max_cost
        )


def make_measures(
    planned: HardnessPlan,
    storage: Storage,
    pricing: PricingOptions,
    *,
    address: str | None = None,
    max_cost: float | None = None,
) -> int:
    """Runs the missing cells and writes every measure whose cells are all there.

    Args:
        planned: The cells, and what they are for.
        storage: The run folder.
        pricing: What nodes cost.
        address: A Ray cluster's address, None for the surrounding or a local one, or `in-process`.
        max_cost: Dollars that what is left to run may cost; None: whatever it takes.

    Returns:
        The exit status.

    Raises:
        ClusterError: If the cluster is not there or cannot hold a block; nothing is written then.
        CostError: If it costs too much, or does not fit; nothing is written then.
    """
    plan, timings = planned.plan, Timings()
    missing = missing_cells(storage, plan.cells, timings)
    budget = Budget(plan, missing, pricing, timings, max_cost)
    print(describe(planned, num_finished=len(plan.cells) - len(missing)), flush=True)
    with open_tracker(storage, plan, is_active=bool(missing)) as tracker:
        write = partial(write_plan, storage, plan)
        run_cells(
            plan,
            planned.inputs,
            storage,
            missing,
            tracker,
            address=address,
            write=write,
            budget=budget,
        )
    made = [_make(planned, storage, source) for source in planned.sources]
    status = exit_status(storage, plan.cells)
    return status if all(made) else CELLS_FAILED


def _make(planned: HardnessPlan, storage: Storage, source: HardnessSource) -> bool:
    """Writes one measure and says what came out; without it says why it is not there."""
    task = planned.inputs.tasks[source.task]
    try:
        found = hardness_values(storage, task, source)
    except NotMeasuredError as error:
        forget_hardness(storage, source)
        print(f"NOT MADE {source.hardness.name} of {source.task}: {error}", file=sys.stderr)
        return False
    seed = planned.plan.space.study_seed
    facts = write_hardness(storage, source, found, data_hash=task.data.data_hash, seed=seed)
    print("\n".join(["", *_result(task.data, facts, found)]))
    print(f"  written   {storage.path(layout.measure_values(source.task, source.hardness.name))}")
    return True


def describe(planned: HardnessPlan, *, num_finished: int | None = None) -> str:
    """Returns which cells make which measures, as text for the terminal."""
    plan = planned.plan
    lines = [f"Space {plan.space.name}"]
    for source, facts in zip(planned.sources, plan.tasks, strict=True):
        hardness = source.hardness
        lines += [
            f"  task      {facts.task} by {hardness.name}: {facts.source}",
            f"            data {facts.data_hash[:12]}, {facts.num_test:,} items, each scored by "
            "what was not trained on it",
            f"            {_how(hardness)}, by {', '.join(source.contents)}",
            *(f"            note: {note}" for note in facts.notes),
        ]
    methods = Counter(cell.cell.recipe.method for cell in plan.cells)
    return "\n".join(
        [
            *lines,
            f"  cells     {len(plan.cells)} distinct: "
            + ", ".join(f"{count} {method}" for method, count in methods.items()),
            *([] if num_finished is None else [f"  finished  {num_finished}"]),
            f"  work      {plan.flop:.2g} FLOP, about "
            f"{clock(plan.flop / CPU_FLOP_PER_SECOND)} of one CPU core (a guess)",
        ]
    )


def _dry_run(space: Space, options: argparse.Namespace, pricing: PricingOptions) -> int:
    """Prints what would be run, and its price where data and weights are here."""
    try:
        planned = plan_hardness(space, options.data_root, skip_bad_rows=options.skip_bad_rows)
    except UnavailableError as error:
        print(_describe_unloaded(space, str(error)))
        if options.max_cost is not None:
            raise CostError(
                f"--max-cost {options.max_cost:g} cannot be kept: without data and weights the "
                "cost is not known"
            ) from error
        return OK
    cost = price_plan(planned.plan, pricing)
    print("\n".join([describe(planned), *describe_cost(cost)]))
    check_memory(cost)
    check_budget(cost, options.max_cost)
    return OK


def _describe_unloaded(space: Space, reason: str) -> str:
    """Returns what would be run, counted from the space alone."""
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
    draws = f", {hardness.seeds} draws each" if hardness.sizes else ""
    return f"{hardness.method.method}, sizes {sizes}{draws}"


def _result(task: TaskData, facts: HardnessFacts, found: HardnessValues) -> list[str]:
    """Returns the means by model, and the rank correlations with the task's own measures."""
    name, models = facts.hardness.name, list(facts.contents)
    codes = [found.values[f"{name}:{score}"] for score in SCORES]
    rows: list[tuple[str, ...]] = [("mean by", *SCORES)]
    for model in models:
        columns = [found.values[f"{name}:{score}:{model}"] for score in SCORES]
        rows.append((model, *(f"{_mean(column.values()):.3f}" for column in columns)))
    rows += [("", "", ""), ("Spearman with", "", "")]
    for measure, values in task.measures.items():
        rows.append((measure, *(_spearman(values, code) for code in codes)))
    rows.append((f"{name}:{SCORES[0]}", "", _spearman(*codes)))
    without = f"{facts.num_without:,} of {facts.num_items:,} items have no value"
    return [
        f"{name} of {task.name}: {len(codes[0]):,} values; {without}",
        *aligned(rows, indent=2),
    ]


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _spearman(first: Mapping[str, float], second: Mapping[str, float]) -> str:
    both = sorted(first.keys() & second.keys())
    ours, theirs = [first[id_] for id_ in both], [second[id_] for id_ in both]
    if len(set(ours)) < 2 or len(set(theirs)) < 2:
        return "constant"
    return f"{spearmanr(ours, theirs).statistic:+.3f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m study.measure",
        description="Make the model-based measures that a space's axes are cut by: run every "
        "missing cell of theirs, then write the measures. Then comes the sweep of the space.",
        epilog="exit status: 0 done, 1 a cell failed, 2 bad input (nothing was started), "
        f"{STATUS_OF_SIGNALS}",
    )
    parser.add_argument(
        "space", metavar="SPACE", help="name of a space, or path/to/file.py:function"
    )
    parser.add_argument(
        "--out", default="runs/", help="run folder, that of the sweep (default: runs/)"
    )
    add_data_flags(parser)
    parser.add_argument(
        "--address",
        help="an existing Ray cluster (default: the one this runs on, else a local Ray); "
        f"'{IN_PROCESS}' runs the cells in this process, for debugging",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    add_max_cost_flag(parser, what="what is left to run")
    add_pricing_flags(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
