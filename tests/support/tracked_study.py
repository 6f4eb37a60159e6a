"""A small fake study, and what the sweep tells the tracker as its cells finish."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LoRA
from search_spaces.space import Space
from study.analysis.surface import compute_surface, write_surface
from study.tracking.tracker import open_tracker
from tests.support.fakes import FakeStudy, fake_space
from trainables.cells.planned import PlannedCell
from trainables.storage.filesystem import open_storage

SECRET = "s3cret" * 7


def small_study(path: Path) -> FakeStudy:
    """One model, one method, two seeds: 7 cells."""
    return FakeStudy(storage=open_storage(str(path)), space=small_space()).write().finish()


def small_space() -> Space:
    return fake_space(models=(BaseModelRef(name="small"),), methods=(LoRA(n_train=8),), seeds=2)


def track(study: FakeStudy, cells: Sequence[PlannedCell] | None = None) -> None:
    """Does what the sweep does as cells finish, by default all cells."""
    surface = compute_surface(study.storage, study.plan)
    write_surface(study.storage, study.plan, surface)
    cells = study.plan.cells if cells is None else cells
    with open_tracker(study.storage, study.plan, cells) as tracker:
        for cell in cells:
            tracker.log_cell(cell, surface.scores.records[cell.id])
        tracker.log_surface(surface)
