"""How the commands that run cells end, whatever happens, and with which exit status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from study.cost import CostError
from study.lock import LockLostError, RunFolderInUseError
from study.running import BAD_INPUT, CELLS_FAILED, INTERRUPTED
from trainables.growth import ClusterError


def run_command(run: Callable[[], int], *, out: str, kept: str = "Finished cells") -> int:
    """Runs a command; returns its exit status.

    That is the one of failed cells where the run folder does not answer any more.

    Args:
        run: Does it all, and returns the exit status where nothing goes wrong.
        out: The run folder as the user gave it.
        kept: What the next run goes on from.
    """
    stop_on_interrupt()
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
        return INTERRUPTED


def refuse(error: Exception) -> int:
    """Says what is wrong with the input; returns the exit status."""
    print(f"error: {error}", file=sys.stderr)
    return BAD_INPUT


def stop_on_interrupt() -> None:
    """Lets the first Ctrl-C stop what is running, and the second one the process."""
    signal.signal(signal.SIGINT, _interrupt)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    print("\nStopping (Ctrl-C again stops at once) ...", flush=True)
    raise KeyboardInterrupt
