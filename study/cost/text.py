"""Formats a cost for the terminal."""

from __future__ import annotations

from search_spaces.explain import count
from study.artifacts.costs import BaseCost, StudyCost
from study.formatting import aligned, clock

SHOWN_BLOCKS = 8

GB = 1e9


def describe_cost(cost: StudyCost, *, what: str = "all") -> list[str]:
    """Returns the expected cost of a study, one line per base model.

    Args:
        cost: Cost of the plan, or of its missing cells.
        what: `all` or `left`: the cells that the cost covers.
    """
    head = f"  cost      of {'all cells' if what == 'all' else 'the cells left to run'}: "
    lines = [head + _total(cost)]
    rows: list[tuple[str, ...]] = [
        ("base", "memory", "moved", "node type", "workers", "GPU-hours", "on-demand", "spot")
    ]
    rows += [_row(base) for base in cost.bases]
    lines += aligned(rows, indent=12)
    unknown = dict.fromkeys(base.reason for base in cost.bases if base.on_demand is None)
    lines += [f"            {reason}" for reason in unknown]
    lines += [f"            note: {note}" for note in cost.notes]
    if cost.starts_on_demand:
        starts = f"${cost.starts_on_demand:,.2f} (${cost.starts_spot or 0:,.2f} on spot)"
        lines.append(f"            {starts} of it for booting and idling, nodes: {cost.num_nodes}")
    if cost.blocks:
        shown = ", ".join(f"{_dollars(block.on_demand)}" for block in cost.blocks[:SHOWN_BLOCKS])
        more = ", ..." if len(cost.blocks) > SHOWN_BLOCKS else ""
        lines.append(
            f"            1 wave of {count(len(cost.blocks), 'block')} on-demand: {shown}{more}"
        )
    return [*lines, f"            {_basis(cost)}"]


def _total(cost: StudyCost) -> str:
    if cost.on_demand is None or cost.spot is None:
        return "unknown, see below"
    if not cost.on_demand:
        hours = sum(base.worker_hours or 0.0 for base in cost.bases)
        return f"$0, {_nothing(cost)} ({clock(3600 * hours)} of one CPU core)"
    return f"about ${cost.on_demand:,.2f} on-demand, ${cost.spot:,.2f} on spot, on rented nodes"


def _nothing(cost: StudyCost) -> str:
    reasons = dict.fromkeys(base.reason for base in cost.bases if base.reason)
    return "; ".join(reasons) or "no cells are left to run"


def _row(base: BaseCost) -> tuple[str, ...]:
    return (
        base.model,
        "-" if base.memory_gib is None else f"{base.memory_gib:,.1f} GiB",
        "-" if base.bytes_moved is None else f"{_short(base.bytes_moved / GB)} GB",
        base.instance or "-",
        str(base.workers),
        "-" if base.gpu_hours is None else _short(base.gpu_hours),
        _dollars(base.on_demand),
        _dollars(base.spot),
    )


def _short(value: float) -> str:
    if 0 < value < 0.01:
        return "<0.01"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _dollars(value: float | None) -> str:
    return "-" if value is None else f"${value:,.2f}"


def _basis(cost: StudyCost) -> str:
    flop = sum(base.flop for base in cost.bases)
    measured = sum(base.measured_share * base.flop for base in cost.bases) / flop if flop else 0.0
    timed = f"{measured:.0%} of the operations timed by finished cells, the rest"
    return (
        f"{timed if measured else 'seconds'} assumed (study/cost/devices.py); prices: {cost.prices}"
    )
