"""Levels of the task `micro` with a single number of steps each."""

from search_spaces.levels import Level

SINGLE_STEPS = tuple(Level(name=f"steps {n}", low=n, high=n) for n in (3, 4, 5, 6))
