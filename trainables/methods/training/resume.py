"""Resumes a training whose worker was lost, from its last checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from trainables.distributed.engine import Engine
from trainables.methods.base.interface import Log
from trainables.stop_signals import StoppedError
from trainables.storage.checkpoints import Checkpoint

CPU_RANDOMNESS, GPU_RANDOMNESS = "randomness of the CPU", "randomness of the GPU"


@dataclass(kw_only=True, slots=True)
class TrainingProgress:
    """Progress of a training; all workers of the engine call the same methods."""

    checkpoint: Checkpoint | None
    """None: no checkpoints."""
    engine: Engine
    log: Log
    device: torch.device
    num_done: int = field(init=False, default=0)
    """Updates done, including those of an earlier process."""
    _rows: list[Mapping[str, float]] = field(init=False, default_factory=list)
    _kept: int | None = field(init=False, default=None)

    def restore(self) -> None:
        """Resumes from an earlier process, if all workers can, and logs its rows again."""
        if self.checkpoint is None:
            return
        progress = self.checkpoint.read_progress()
        state = None if progress is None else self._read(progress.update)
        if self.engine.mean(0.0 if state is None else 1.0) < 1.0:
            return
        if progress is None or state is None:
            return
        self._put_back_randomness(state)
        self.engine.load_state(state)
        self.num_done = self._kept = progress.update
        for row in progress.rows:
            self.done(row, counts=False)

    def done(self, row: Mapping[str, float], *, counts: bool = True) -> None:
        """Logs an update, and regularly writes a checkpoint.

        Raises:
            StoppedError: If the sweep must stop; on all workers, after the checkpoint.
        """
        self._rows.append(row)
        self.log(row)
        if not counts:
            return
        self.num_done += 1
        if self.checkpoint is None:
            return
        must_stop = self.checkpoint.must_stop
        if self._any(self.checkpoint.is_due() or must_stop()):
            self._write(self.checkpoint)
            if self._any(must_stop()):
                raise StoppedError

    def _any(self, mine: bool) -> bool:
        return self.engine.mean(1.0 if mine else 0.0) > 0.0

    def _write(self, checkpoint: Checkpoint) -> None:
        rank = self.engine.rank
        content = save({**self.engine.state(), **self._randomness()})
        self._together(partial(checkpoint.write_share, self.num_done, rank, content))
        # All shares are written: now the checkpoint becomes valid.
        put = partial(checkpoint.write_progress, self.num_done, self._rows)
        self._together(put if rank == 0 else None)
        if self._kept is not None:
            checkpoint.delete_share(self._kept, rank)
        self._kept = self.num_done

    def _together(self, write: Callable[[], None] | None) -> None:
        """Writes on every worker; if one fails all fail, so that none waits for it."""
        fault: OSError | None = None
        try:
            if write is not None:
                write()
        except OSError as error:
            fault = error
        if self.engine.mean(0.0 if fault is None else 1.0) > 0.0:
            raise fault or OSError("another worker could not write its share of a checkpoint")

    def _read(self, update: int) -> dict[str, Tensor] | None:
        if self.checkpoint is None:
            return None
        try:
            state: dict[str, Tensor] = load(self.checkpoint.read_share(update, self.engine.rank))
        except (OSError, SafetensorError):
            return None
        return state

    def _randomness(self) -> dict[str, Tensor]:
        state = {CPU_RANDOMNESS: torch.get_rng_state()}
        if self.device.type == "cuda":
            state[GPU_RANDOMNESS] = torch.cuda.get_rng_state(self.device)
        return state

    def _put_back_randomness(self, state: dict[str, Tensor]) -> None:
        torch.set_rng_state(state.pop(CPU_RANDOMNESS))
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state.pop(GPU_RANDOMNESS), self.device)
