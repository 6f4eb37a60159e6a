"""Prices of cloud instances: a dated table that users can replace, and sums over it.

The table is a file (`prices.toml` of this package) because prices change daily. Pure: no cloud is
queried.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from search_spaces.explain import explain
from search_spaces.frozen import FrozenModel
from study.formatting import GIB
from trainables.cluster.machine_memory import Machine

SECONDS_PER_HOUR = 3600.0

SHIPPED = Path(__file__).with_name("prices.toml")
"""The shipped table."""

_Dollars = Annotated[float, Field(gt=0)]


class Cloud(FrozenModel):
    """Region and date of a cloud's prices."""

    region: str
    date: datetime.date
    source: str
    spot_share: Annotated[float, Field(gt=0, le=1)]
    """Spot price over on-demand price, used if an instance lists no spot price."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeNeed:
    """What a block needs on one node."""

    gpus: int
    """0 or more."""
    gpu_memory_gib: float = 0.0
    """Per GPU."""
    memory_gib: float = 0.0
    """CPU memory for offloaded state."""

    @property
    def text(self) -> str:
        """The need as a phrase for messages."""
        gpus = f"{self.gpus} x {self.gpu_memory_gib:,.1f} GiB of GPU memory"
        if not self.memory_gib:
            return gpus
        return f"{gpus} and {self.memory_gib:,.0f} GiB of CPU memory for offloaded state"


class Instance(FrozenModel):
    """One instance type and its price, $ an hour."""

    cloud: str
    gpu: str = ""
    """Name of its GPUs; empty without GPUs."""
    gpus: Annotated[int, Field(ge=0)]
    gpu_memory_gib: Annotated[float, Field(ge=0)] = 0
    """Memory of one GPU."""
    vcpus: Annotated[int, Field(ge=1)]
    memory_gib: Annotated[float, Field(gt=0)] | None = None
    """CPU memory; None: unknown, so blocks with offload do not run there."""
    on_demand: _Dollars
    spot: _Dollars | None = None

    @model_validator(mode="after")
    def _gpus_are_described(self) -> Instance:
        if self.gpus and not (self.gpu and self.gpu_memory_gib):
            raise ValueError(f"an instance with gpus = {self.gpus} needs gpu and gpu_memory_gib")
        if self.spot is not None and self.spot > self.on_demand:
            raise ValueError(f"spot = {self.spot} is more than on_demand = {self.on_demand}")
        return self

    def holds(self, need: NodeNeed) -> bool:
        """Returns whether a block with this need fits on one such machine."""
        return (
            self.gpus >= need.gpus
            and self.gpu_memory_gib >= need.gpu_memory_gib
            and (self.memory_gib or 0.0) >= need.memory_gib
        )

    def machine(self, name: str) -> Machine:
        """Returns its memory and its GPUs.

        Args:
            name: Of the node type, for messages.
        """
        return Machine(
            name=name,
            memory=GIB * (self.memory_gib or 0.0),
            num_gpus=self.gpus,
            gpu_memory=GIB * self.gpu_memory_gib,
        )

    @property
    def text(self) -> str:
        """Its memory as a phrase for messages."""
        memory = "an unknown amount" if self.memory_gib is None else f"{self.memory_gib:,g} GiB"
        return f"{self.gpus} x {self.gpu_memory_gib:g} GiB of GPU memory and {memory} of CPU memory"


class PriceTable(FrozenModel):
    """The content of a price file."""

    clouds: Mapping[str, Cloud]
    instances: Mapping[str, Instance]

    @model_validator(mode="after")
    def _clouds_are_known(self) -> PriceTable:
        for name, instance in self.instances.items():
            if instance.cloud not in self.clouds:
                raise ValueError(
                    f"instance {name!r} is of cloud {instance.cloud!r}, which has no "
                    f"[clouds.{instance.cloud}]"
                )
        return self

    def find(self, name: str) -> Instance:
        """Returns the instance type of this name.

        Raises:
            ValueError: If the table does not have it; lists the names that it has.
        """
        if name not in self.instances:
            raise ValueError(
                f"no price of instance type {name!r}: the table has "
                f"{', '.join(sorted(self.instances))}. Add it to a copy of {SHIPPED} and give that "
                "with --prices."
            )
        return self.instances[name]

    def hourly(self, name: str, *, is_spot: bool) -> float:
        """Returns the price of an instance in $ per hour.

        Raises:
            ValueError: If the table does not have it.
        """
        instance = self.find(name)
        if not is_spot:
            return instance.on_demand
        if instance.spot is not None:
            return instance.spot
        return instance.on_demand * self.clouds[instance.cloud].spot_share

    def cheapest(self, need: NodeNeed, among: Collection[str] | None = None) -> str | None:
        """Returns the instance type with the lowest spot price that holds a block; None if none.

        Args:
            need: What the block needs.
            among: Names of the available types; None: the whole table.
        """
        fitting = [
            name
            for name, instance in self.instances.items()
            if (among is None or name in among) and instance.holds(need)
        ]
        return min(fitting, key=lambda name: self.hourly(name, is_spot=True), default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """The cost of some work in $, on-demand and on spot."""

    on_demand: float
    spot: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(on_demand=self.on_demand + other.on_demand, spot=self.spot + other.spot)


def gpu_cost(table: PriceTable, instance: str, gpu_seconds: float) -> Cost:
    """Returns the cost of GPU-seconds on an instance type; each GPU costs its share.

    Args:
        table: The prices.
        instance: Name of the instance type.
        gpu_seconds: Number of GPUs times seconds.

    Raises:
        ValueError: If the type is not in the table or has no GPU, or the seconds are negative.
    """
    gpus = table.find(instance).gpus
    if not gpus:
        raise ValueError(f"instance type {instance!r} has no GPU: use node_cost")
    return node_cost(table, instance, gpu_seconds / gpus)


def node_cost(table: PriceTable, instance: str, node_seconds: float) -> Cost:
    """Returns the cost of an instance for some seconds.

    Raises:
        ValueError: If the type is not in the table, or the seconds are negative.
    """
    if node_seconds < 0:
        raise ValueError(f"seconds must not be negative, got {node_seconds}")
    hours = node_seconds / SECONDS_PER_HOUR
    return Cost(
        on_demand=hours * table.hourly(instance, is_spot=False),
        spot=hours * table.hourly(instance, is_spot=True),
    )


def read_prices(path: Path | None = None) -> PriceTable:
    """Returns the shipped price table, or a user's.

    Raises:
        ValueError: If the file cannot be read or breaks a rule; names both.
    """
    name = str(path or SHIPPED)
    try:
        text = (path or SHIPPED).read_text("utf-8")
        content: dict[str, Any] = tomllib.loads(text)
        return PriceTable.model_validate(content)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the price table {name}: {error}") from error
    except ValidationError as error:
        raise ValueError(f"{name} is not a price table: {explain(error)}") from error
    except (ValueError, RecursionError) as error:  # digits or brackets beyond Python's limits, too
        raise ValueError(f"the price table {name} is not TOML: {error}") from error
