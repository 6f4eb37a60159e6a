"""Tables of a report as parquet files beside surface.parquet, for W&B and for other programs."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from study.alignment_text import write_alignment
from study.audit_reader import write_audit
from study.detection import DetectorRow
from study.reporting.content import Content
from study.reporting.self_training import SelfTrainingSection
from study.reward_text import write_rewards
from trainables import layout
from trainables.storage import Storage


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
