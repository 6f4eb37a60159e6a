"""How the commands that run cells end, whatever happens, and with which exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable

from study.cost import CostError
from study.lock import LockLostError, RunFolderInUseError
from study.running import BAD_INPUT, CELLS_FAILED
from trainables import stopping
from trainables.growth import ClusterError


def run_command(run: Callable[[], int], *, out: str, kept: str = "Finished cells") -> int:
    """Runs a command; returns its exit status.

    That is the one of failed cells where the run folder does not answer any more, and 128 + signal
    where Ctrl-C, SIGTERM or a closed terminal stopped the command.

    Args:
        run: Does it all, and returns the exit status where nothing goes wrong.
        out: The run folder as the user gave it.
        kept: What the next run goes on from.
    """
    with stopping.signals_handled():
        return _run(run, out, kept)


def _run(run: Callable[[], int], out: str, kept: str) -> int:
    try:
        return run()
    except LockLostError as error:
        print(f"error: {error}", file=sys.stderr)
        return CELLS_FAILED
    except (ClusterError, RunFolderInUseError, CostError) as error:
        return refuse(error)
    except OSError as error:
        print(f"error: {out} cannot be read or written: {error}", file=sys.stderr)
        print(f"{kept} are kept: the same command goes on from here.", file=sys.stderr)
        return CELLS_FAILED
    except KeyboardInterrupt:
        print(f"\nStopped. {kept} are kept: the same command goes on from here.")
        return stopping.exit_status()


def refuse(error: Exception) -> int:
    """Says what is wrong with the input; returns the exit status."""
    print(f"error: {error}", file=sys.stderr)
    return BAD_INPUT
