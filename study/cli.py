"""How the commands that run cells end, whatever happens, and with which exit status."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from study.cluster_lint.this_cluster import is_on_cluster, machine_types
from study.cost.jobs import PricingOptions
from study.cost.prices import PriceTable, read_prices
from study.running.executor import BAD_INPUT, CELLS_FAILED
from trainables import stop_signals
from trainables.errors import BadInputError, CostError, LockLostError
from trainables.storage.addresses import fault_of, is_local, split_options
from trainables.storage.filesystem import Storage, open_storage


def run_command(run: Callable[[], int], *, out: str, kept: str = "Finished cells") -> int:
    """Runs a command; returns its exit status.

    That is the one of failed cells where the run folder does not answer any more, and 128 + signal
    where Ctrl-C, SIGTERM or a closed terminal stopped the command.

    Args:
        run: Does it all, and returns the exit status where nothing goes wrong.
        out: The run folder as the user gave it.
        kept: What the next run goes on from.
    """
    with stop_signals.signals_handled():
        return _run(run, out, kept)


def _run(run: Callable[[], int], out: str, kept: str) -> int:
    try:
        return run()
    except LockLostError as error:
        print(f"error: {error}", file=sys.stderr)
        return CELLS_FAILED
    except BadInputError as error:
        return refuse(error)
    except OSError as error:
        print(f"error: {out} cannot be read or written: {error}", file=sys.stderr)
        print(f"{kept} are kept: the same command goes on from here.", file=sys.stderr)
        return CELLS_FAILED
    except KeyboardInterrupt:
        print(f"\nStopped. {kept} are kept: the same command goes on from here.")
        return stop_signals.exit_status()


def refuse(error: Exception) -> int:
    """Says what is wrong with the input; returns the exit status."""
    print(f"error: {error}", file=sys.stderr)
    return BAD_INPUT


def load_pricing(
    prices: Path | None,
    instance: str | None,
    *,
    address: str | None = None,
    max_cost: float | None = None,
) -> PricingOptions:
    """Returns a market with the user's table of prices, or the shipped one.

    On the head of a `ray up` cluster its node types are all that there is.

    Args:
        prices: The user's table.
        instance: The node type of every block.
        address: As the command's `--address` gives it.
        max_cost: What may be spent, $; no limit can be kept where nobody knows on which machines.

    Raises:
        CostError: If there is a limit, and the cluster's machines or their prices are not known.
        ValueError: If a file cannot be read, or the table does not have the instance type.
    """
    table = read_prices(prices)
    types, has_gpus = None, True
    if instance is not None:
        table.find(instance)
    else:
        types = machine_types(address)
        if max_cost is not None:
            _check_machines_are_known(types, table, address)
        if types is not None:
            has_gpus = any(t not in table.instances or table.find(t).gpus for t in types)
    dates = ", ".join(f"{name} of {cloud.date}" for name, cloud in table.clouds.items())
    return PricingOptions(
        prices=table,
        source=f"{prices or 'study/cost/prices.toml'} ({dates})",
        instance=instance,
        types=types,
        has_gpus=has_gpus,
    )


def _check_machines_are_known(
    types: Sequence[str] | None, table: PriceTable, address: str | None
) -> None:
    if types is None and is_on_cluster(address):
        raise CostError(
            "--max-cost cannot be kept: nobody knows which machines this cluster has (no "
            "configuration of `ray up` on this machine names them); say it with --instance TYPE"
        )
    unpriced = [name for name in types or () if name not in table.instances]
    if unpriced:
        raise CostError(
            f"--max-cost cannot be kept: this cluster may start {', '.join(unpriced)}, which the "
            "price table does not have. Add the price to a copy of study/cost/prices.toml and give "
            "that with --prices, or name the type that is used with --instance"
        )


def add_pricing_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `open_market` to a command."""
    parser.add_argument(
        "--prices",
        type=Path,
        metavar="FILE",
        help="a price table in the form of study/cost/prices.toml (default: that one)",
    )
    parser.add_argument(
        "--instance",
        metavar="TYPE",
        help="node type that blocks run on, such as g6.2xlarge (default: the cheapest that holds "
        "them, of the types of the cluster on its head, else of the price table)",
    )


def add_max_cost_flag(parser: argparse.ArgumentParser, *, what: str) -> None:
    """Adds `--max-cost` to a command.

    Args:
        parser: Of the command.
        what: Is held against it.
    """
    parser.add_argument(
        "--max-cost",
        type=dollars,
        metavar="DOLLARS",
        help=f"start nothing and exit with 2 where {what} is expected to cost more on on-demand "
        "nodes; also limits how many nodes are started",
    )


def dollars(text: str) -> float:
    """Returns a sum of money, $.

    Raises:
        argparse.ArgumentTypeError: If it is no finite number of 0 or more: `nan` would pass every
            comparison, and so any price.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"dollars are a number, 0 or more, got {text!r}")
    return value


def open_run(run: str) -> tuple[Storage, str]:
    """Splits a study's folder into the run folder and the study's name.

    Options of a bucket (`s3://bucket/runs/micro?region=...`) go with the run folder.

    Raises:
        ValueError: If it is no folder inside another one, or cannot be opened.
    """
    fault = None if is_local(run) else fault_of(run)
    if fault is not None:
        raise ValueError(fault)
    folder, mark, options = split_options(run)
    root, _, space = folder.rstrip("/").rpartition("/")
    if root.endswith(":/"):
        raise ValueError(f"RUN is the folder of a study inside a run folder, got {run!r}")
    if not space or space in (".", ".."):
        raise ValueError(f"RUN is the folder of a study, such as runs/micro, got {run!r}")
    return open_storage(f"{root or '.'}{mark}{options}"), space


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--data-root` and `--skip-bad-rows` to a command."""
    parser.add_argument(
        "--data-root",
        type=Path,
        metavar="DIR",
        help="local copies of data sets, a folder a task (default: the Hugging Face Hub)",
    )
    parser.add_argument(
        "--skip-bad-rows",
        action="store_true",
        help="leave out rows that cannot be used, and print how many and why",
    )
