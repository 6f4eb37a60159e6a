"""Tables of a report as parquet files beside surface.parquet, for W&B and for other programs."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from study.analysis.self_training.audit import AuditRow
from study.analysis.self_training.detectors import DetectorRow
from study.analysis.self_training.tables import audit_table
from study.analysis.surface import Surface, write_surface
from study.artifacts.plan import Plan
from study.reporting.content import Content, gather
from study.reporting.page import render_page
from study.reporting.policy_table import write_alignment
from study.reporting.reward_table import write_rewards
from study.reporting.self_training import SelfTrainingSection
from trainables.storage import layout
from trainables.storage.filesystem import Storage, written_together


def write_tables(storage: Storage, space: str, content: Content) -> None:
    """Writes a file for each part that the report has."""
    if content.rewards:
        write_rewards(storage, space, content.rewards, content.ceilings)
    if content.alignment:
        write_alignment(storage, space, content.alignment)
    if content.self_training is not None:
        write_audit(storage, space, content.self_training.audit)
        for key, table in _tables(space, content.self_training):
            buffer = io.BytesIO()
            pq.write_table(table, buffer, compression="zstd")
            storage.write_bytes(key, buffer.getvalue())


def _tables(space: str, section: SelfTrainingSection) -> Iterator[tuple[str, pa.Table]]:
    yield layout.reliability(space), section.reliability
    yield layout.selective(space), section.selective
    names = DetectorRow.__slots__
    rows = [{name: getattr(row, name) for name in names} for row in section.detectors]
    yield layout.detectors(space), pa.table({n: [row[n] for row in rows] for n in names})


def write_audit(storage: Storage, space: str, rows: Sequence[AuditRow]) -> str:
    """Writes audit.parquet and returns its path."""
    buffer = io.BytesIO()
    pq.write_table(audit_table(rows), buffer, compression="zstd")
    storage.write_bytes(layout.audit(space), buffer.getvalue())
    return storage.path(layout.audit(space))


def write_report(
    storage: Storage, plan: Plan, surface: Surface, content: Content | None = None
) -> str:
    """Writes the page, its figures, its tables and surface.parquet; returns the path of the page.

    They appear together: where one cannot be written, the older report stays as it is.

    Args:
        storage: The run folder.
        plan: The study.
        surface: Its surface.
        content: What the report shows, where it has been gathered already.
    """
    content = content or gather(storage, plan, surface)
    name = plan.space.name
    page = layout.report(name, "index.html")
    with written_together(storage, last=page) as staged:
        write_surface(staged, plan, surface)
        for drawing in content.drawings:
            staged.write_bytes(layout.report(name, f"{drawing.name}.png"), drawing.png)
            staged.write_bytes(layout.report(name, f"{drawing.name}.svg"), drawing.svg)
        write_tables(staged, name, content)
        staged.write_bytes(page, render_page(plan, surface, content).encode())
    return storage.path(page)
