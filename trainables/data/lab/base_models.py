"""The embedded lab: a synthetic world, its text, and the base models pretrained on it."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

MODELS = Path(__file__).resolve().parent / "models"

MICRO_MODELS: Mapping[str, Path] = MappingProxyType(
    {name: MODELS / name for name in ("micro-s", "micro-m", "micro-l")}
)
"""Folder of each shipped base model, in Hugging Face format, smallest first."""

PASSED_CHECKS = MODELS / "passed_checks.json"
"""Outcomes of the shipped models' checks (`trainables.models.passed_checks`)."""
