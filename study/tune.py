"""`python -m study.tune SPACE --method lora`: searches a method's recipe on easy labels alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from search_spaces.recipes import num_labels
from search_spaces.registry import find_space
from search_spaces.space import Space
from search_spaces.tuning import RANGES
from study.cli import (
    add_data_flags,
    add_max_cost_flag,
    add_pricing_flags,
    load_pricing,
    refuse,
    run_command,
)
from study.console import command
from study.reporting.figures.sensitivity import draw_sensitivity
from study.running.executor import OK, STATUS_OF_SIGNALS, open_executor
from study.tuning.budget import SearchBudget
from study.tuning.job import SearchJob, resumed
from study.tuning.results import parameters_text, standard_error, winner
from study.tuning.searches import make_searches
from trainables.cluster.capacity import IN_PROCESS, Capacity
from trainables.cluster.executor import Executor
from trainables.storage.filesystem import Storage, check_writable, open_storage
from trainables.storage.lock import held

NOTHING_FOUND = 1

METHODS = {name.replace(" ", "-"): name for name in RANGES}


@command(needs_output=False)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status.

    0: every search has its winner. 1: in some search no trial went to its end, or the run folder
    did not answer any more. 2: bad input, nothing was started. 130, 143, 129: stopped by
    Ctrl-C, by SIGTERM, by a closed terminal; the same command goes on from there.
    """
    options = _parser().parse_args(arguments)
    return run_command(lambda: _run(options), out=options.out, kept="Ended trials")


def _run(options: argparse.Namespace) -> int:
    try:
        space = find_space(options.space)
        storage = open_storage(options.out)
        pricing = load_pricing(
            options.prices, options.instance, address=options.address, max_cost=options.max_cost
        )
        jobs = _make_jobs(space, storage, options)
        check_writable(storage)
    except (OSError, ValueError) as error:
        return refuse(error)
    with held(storage):
        waiting = [job for job in jobs if not job.is_over]
        left = [(job.model, job.search, job.num_left) for job in waiting]
        budget = SearchBudget(space, left, pricing, options.max_cost)
        return _run_jobs(jobs, storage, space, options.address, budget)


def _make_jobs(space: Space, storage: Storage, options: argparse.Namespace) -> list[SearchJob]:
    """Returns the searches with what earlier runs found; all is checked before one starts.

    Raises:
        ValueError: If the input is bad.
    """
    if min(options.trials, options.validation) < 1:
        raise ValueError(
            f"--trials and --validation must be at least 1, got {options.trials} and "
            f"{options.validation}"
        )
    jobs: list[SearchJob] = []
    for model, search in make_searches(
        space,
        METHODS[options.method],
        options.data_root,
        storage,
        num_validation=options.validation,
        seed=options.seed,
        skip_bad_rows=options.skip_bad_rows,
    ):
        if space.footprint_of(model).engine != "plain":
            raise ValueError(
                f"{model.name} is shared by several workers (engine "
                f"{space.footprint_of(model).engine}), and a trial has one: tune a smaller model "
                "or a footprint with engine='plain'"
            )
        job = SearchJob(
            model=model,
            search=search,
            num_trials=options.trials,
            storage=storage,
            space=space.name,
            draw=draw_sensitivity,
        )
        jobs.append(resumed(job))
    return jobs


def _run_jobs(
    jobs: Sequence[SearchJob],
    storage: Storage,
    space: Space,
    address: str | None,
    budget: SearchBudget,
) -> int:
    waiting = [job for job in jobs if not job.is_over]
    for job in jobs:
        _announce(job)
        if job.is_over and not job.is_pinned:  # stopped on the way to more trials
            job.write()
    if waiting:
        with open_executor(address, storage, space.name) as executor:
            fits = _capacities(space, executor, budget)
            for job in waiting:
                print(f"\n{job.name}", flush=True)
                job.start()
                executor.run_search(job.search, job.num_trials, job.add, fits=fits[job.model.name])
    print()
    return max([_conclude(job) for job in jobs], default=OK)


def _capacities(space: Space, executor: Executor, budget: SearchBudget) -> dict[str, Capacity]:
    """Returns for each base model where its trials run, of one worker each, within the budget."""
    footprints = {model.name: space.footprint_of(model) for model in space.models}
    fits = {
        name: executor.fit(footprint.model_copy(update={"workers": None}))
        for name, footprint in footprints.items()
    }
    nodes = budget.approve(has_gpus=any(each.gpus_per_worker for each in fits.values()))
    if nodes is None:
        return fits
    return {name: replace(each, slots=min(each.slots, nodes)) for name, each in fits.items()}


def _announce(job: SearchJob) -> None:
    history = job.search.history
    number = len(history.trials)
    print(
        f"{job.name}: {number} of {job.num_trials} trials done. Easy labels: "
        f"{history.num_labelled} to train on + {history.num_validation} to validate with = "
        f"{history.num_labelled + history.num_validation}, all of level "
        f"{history.level.name!r}; no other label is read.",
        flush=True,
    )
    for note in job.search.notes:
        print(f"  note: {note}", flush=True)


def _conclude(job: SearchJob) -> int:
    """Prints what a search found; returns its exit status."""
    found, history = job.found, job.search.history
    best = winner(history)
    if best is None or best.value is None or found.recipe is None:
        print(f"{job.name}: no trial went to its end.", file=sys.stderr)
        return NOTHING_FOUND
    error = standard_error(best.value, history.num_validation)
    print(
        f"{job.name}: {parameters_text(best.parameters)}\n"
        f"  {100 * best.value:.1f} % of {history.num_validation} validation items right (standard "
        f"error {100 * error:.1f}; the best of {len(history.trials)} trials is an optimistic "
        f"estimate), stopped early: {found.num_pruned} trials; labels: {num_labels(found.recipe)} "
        f"a cell, {found.num_labels} in the search\n"
        f"  {job.storage.path(job.key('json'))}"
    )
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m study.tune",
        description="Search a method's hyper-parameters for each base model and task of a space, "
        "judged on labelled items of the easiest level alone. The winner lies in "
        "OUT/SPACE/tune/; search_spaces.tuning.tuned(path) puts it into a space. The same command "
        "goes on where it stopped.",
        epilog="exit status: 0 done, 1 a search found nothing, 2 bad input (nothing was started), "
        f"{STATUS_OF_SIGNALS}",
    )
    parser.add_argument(
        "space", metavar="SPACE", help="name of a space, or path/to/file.py:function"
    )
    parser.add_argument("--method", required=True, choices=sorted(METHODS), help="what is tuned")
    parser.add_argument(
        "--trials", type=int, default=20, metavar="N", help="recipes tried (default: 20)"
    )
    parser.add_argument(
        "--validation",
        type=int,
        default=160,
        metavar="N",
        help="easy labels to judge by, fewer where the level has fewer (default: 160)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="training draw, validation draw and sampler (default: 0, whose training labels are "
        "those of the study's seed 0)",
    )
    parser.add_argument(
        "--out",
        default="runs/",
        help="run folder: a local path, s3://bucket/... or gs://bucket/... (default: runs/)",
    )
    add_data_flags(parser)
    parser.add_argument(
        "--address",
        help="an existing Ray cluster (default: the one this runs on, else a local Ray); "
        f"'{IN_PROCESS}' runs the trials in this process, one after the other",
    )
    what = "an upper bound of what is left (every trial at the upper end of its ranges, to its end)"
    add_max_cost_flag(parser, what=what)
    add_pricing_flags(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
