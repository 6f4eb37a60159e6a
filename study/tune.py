"""`python -m study.tune SPACE --method lora`: searches a method's recipe on easy labels only."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated

import typer

from search_spaces.base_models import BaseModelRef
from search_spaces.explain import count
from search_spaces.recipes import num_labels
from search_spaces.registry import find_space
from search_spaces.space import Space
from search_spaces.tuning import RANGES, Trial
from study.cli import options
from study.cli.command import FAILED, OK, checking_input, command
from study.cli.pricing import check_dashboard, load_pricing
from study.running.executor import open_executor
from study.running.preflight import check_local_memory, is_here
from study.tracking.trial_runs import SearchTracker, open_search_tracker
from study.tuning.budget import SearchBudget
from study.tuning.job import SearchJob, resumed
from study.tuning.results import parameters_text, standard_error, winner
from study.tuning.searches import make_searches
from trainables.cluster.capacity import Capacity
from trainables.cluster.executor import Executor
from trainables.storage.filesystem import Storage, check_writable, open_storage
from trainables.storage.lock import held
from trainables.tuning.search import Search

METHODS = {name.replace(" ", "-"): name for name in RANGES}


def method_name(text: str) -> str:
    """Returns the name of a method that can be tuned.

    Raises:
        typer.BadParameter: If there is no such method.
    """
    if text not in METHODS:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(sorted(METHODS))}")
    return METHODS[text]


@command(
    keeps="Completed trials",
    examples={
        "micro --method lora": "Search LoRA's recipe for each model of the default study.",
        "arc --method linear-probe --trials 40": "Try 40 recipes of the linear probe.",
    },
)
def main(
    space_name: options.SpaceName,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            metavar="METHOD",
            parser=method_name,
            help=f"method to tune: {', '.join(sorted(METHODS))}",
        ),
    ],
    trials: Annotated[
        int, typer.Option("--trials", metavar="N", min=1, help="number of recipes to try")
    ] = 20,
    validation: Annotated[
        int,
        typer.Option(
            "--validation",
            metavar="N",
            min=1,
            help="easy labels to validate with; fewer if the level has fewer",
        ),
    ] = 160,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            metavar="S",
            help="seed of the sampler and of the training and validation draws; 0 trains on the "
            "labels of the study's seed 0",
        ),
    ] = 0,
    out: options.Out = "runs/",
    data_root: options.DataRoot = None,
    skip_bad_rows: options.SkipBadRows = False,
    address: options.Address = None,
    dashboard: options.Dashboard = False,
    max_cost: options.MaxCost = None,
    prices: options.Prices = None,
    instance: options.Instance = None,
) -> int:
    """Searches a method's hyper-parameters for each base model and task of a space.

    Trials are judged on labelled items of the easiest level only. The winner is written to
    RUNS/SPACE/tune/; search_spaces.tuning.tuned(path) puts it into a space. The same command
    continues where it stopped. --max-cost compares an upper bound: every remaining trial at the
    upper end of its ranges, without early stopping.

    Exit status: 0 done, 1 a search completed no trial or the run folder became unavailable, 2 bad
    input (no work was started), 130 stopped by Ctrl-C, 143 by SIGTERM, 129 by a closed terminal.
    """
    with checking_input():
        check_dashboard(address, dashboard=dashboard)
        space = find_space(space_name)
        storage = open_storage(out)
        pricing = load_pricing(prices, instance, address=address, max_cost=max_cost)
        searches = make_searches(
            space,
            method,
            data_root,
            storage,
            num_validation=validation,
            seed=seed,
            skip_bad_rows=skip_bad_rows,
        )
        jobs = _make_jobs(space, storage, searches, num_trials=trials)
        check_writable(storage)
    with held(storage):
        waiting = [job for job in jobs if not job.is_over]
        left = [(job.model, job.search, job.num_left) for job in waiting]
        budget = SearchBudget(space, left, pricing, max_cost)
        return _run_jobs(jobs, storage, space, address, budget, dashboard=dashboard)


def _make_jobs(
    space: Space,
    storage: Storage,
    searches: Iterable[tuple[BaseModelRef, Search]],
    *,
    num_trials: int,
) -> list[SearchJob]:
    """Returns the searches, resumed from earlier runs; checks all of them before one starts.

    Raises:
        ValueError: If the input is bad.
    """
    # Imported here: the help needs no plotting.
    from study.reporting.figures.sensitivity import draw_sensitivity

    jobs: list[SearchJob] = []
    for model, search in searches:
        if space.footprint_of(model).engine != "plain":
            raise ValueError(
                f"{model.name} is shared by several workers (engine "
                f"{space.footprint_of(model).engine}), and a trial has one: tune a smaller model "
                "or a footprint with engine='plain'"
            )
        job = SearchJob(
            model=model,
            search=search,
            num_trials=num_trials,
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
    *,
    dashboard: bool,
) -> int:
    waiting = [job for job in jobs if not job.is_over]
    for job in jobs:
        _announce(job)
        if job.is_over and not job.is_pinned:  # an earlier run with more trials was stopped
            job.write()
    if waiting:
        is_local = is_here(address)
        with (
            open_search_tracker(storage, space.name) as tracker,
            open_executor(address, storage, space.name, dashboard=dashboard) as executor,
        ):
            fits = _capacities(space, executor, budget)
            for group in budget.settings(fits) if is_local else ():
                check_local_memory([group], address)
            for job in waiting:
                print(f"\n{job.name}", flush=True)
                job.start()
                on_trial = partial(_add_trial, job, tracker)
                executor.run_search(job.search, job.num_trials, on_trial, fits=fits[job.model.name])
    print()
    return max([_conclude(job) for job in jobs], default=OK)


def _add_trial(job: SearchJob, tracker: SearchTracker, trial: Trial, seconds: float) -> None:
    job.add(trial, seconds)
    tracker.log(job.found)


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
        f"{job.name}: {number} of {count(job.num_trials, 'trial')} done. Easy labels: "
        f"{history.num_labelled} to train on + {history.num_validation} to validate with = "
        f"{history.num_labelled + history.num_validation}, all of level "
        f"{history.level.name!r}; no other label is read.",
        flush=True,
    )
    for note in job.search.notes:
        print(f"  note: {note}", flush=True)


def _conclude(job: SearchJob) -> int:
    """Prints the result of a search; returns its exit status."""
    result, history = job.found, job.search.history
    best = winner(history)
    if best is None or best.value is None or result.recipe is None:
        print(f"{job.name}: no trial was completed.", file=sys.stderr)
        return FAILED
    error = standard_error(best.value, history.num_validation)
    print(
        f"{job.name}: {parameters_text(best.parameters)}\n"
        f"  {100 * best.value:.1f} % of {history.num_validation} validation items right (standard "
        f"error {100 * error:.1f}; the best of {count(len(history.trials), 'trial')} is an "
        f"optimistic estimate), stopped early: {count(result.num_pruned, 'trial')}; labels: "
        f"{num_labels(result.recipe)} per cell, {result.num_labels} in the search\n"
        f"  {job.storage.path(job.key('json'))}"
    )
    return OK


if __name__ == "__main__":
    sys.exit(main())
