"""Results of a recipe search, as numbers and text.

Reports show searches too, so this module imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from search_spaces.tuning import History, Trial, num_epochs, with_parameters


def winner(history: History) -> Trial | None:
    """Returns the completed trial with the best validation accuracy, the earliest of equal ones.

    The recipe of the space is tried first, so only a better one replaces it.
    """
    ended = [trial for trial in history.trials if trial.value is not None]
    return max(ended, key=lambda trial: trial.value or 0.0, default=None)


def standard_error(value: float, num_items: int) -> float:
    """Returns the binomial standard error of a share of items, in [0, 1]."""
    return math.sqrt(value * (1.0 - value) / num_items)


def describe_trial(trial: Trial, history: History) -> str:
    """Returns a trial as a line: its value, its parameters, and how it ended."""
    epochs = num_epochs(with_parameters(history.start, trial.parameters))
    last = f"{100 * trial.values[-1]:5.1f} %" if trial.values else "      -"
    ending = {
        "complete": "",
        "pruned": f"  stopped after epoch {len(trial.values)} of {epochs}",
        "failed": f"  FAILED: {trial.reason}",
    }
    return f"{last}  {parameters_text(trial.parameters)}{ending[trial.state]}"


def parameters_text(parameters: Mapping[str, object]) -> str:
    """Returns hyper-parameters as text, such as `rank=8, learning_rate=0.00031`."""
    return ", ".join(f"{name}={_text(value)}" for name, value in parameters.items())


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "+".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
