"""The embedded lab: a synthetic world, its text, and the base models pretrained on it."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

MICRO_MODELS: Mapping[str, Path] = MappingProxyType(
    {
        name: Path(__file__).resolve().parent / "models" / name
        for name in ("micro-s", "micro-m", "micro-l")
    }
)
"""Folder of each shipped base model, in Hugging Face format, smallest first."""
