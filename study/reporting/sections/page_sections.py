"""The sections of the page in their order."""

from __future__ import annotations

from study.analysis.surface import Surface
from study.artifacts.plan import Plan
from study.reporting.content import Content
from study.reporting.sections import (
    appendix,
    calibration,
    curves,
    found,
    items,
    preferences,
    recipe_search,
    self_training,
    surface_section,
)
from study.reporting.sections.section import Section


def page_sections(plan: Plan, surface: Surface, content: Content) -> list[Section]:
    """Returns the sections that this study has: results first, then what they rest on."""
    sections = [
        found.found_section(plan, surface, content),
        surface_section.surface_section(plan, surface, content),
        surface_section.points_section(surface, content),
        found.pooled_section(surface, content),
        curves.curves_section(surface, content),
        items.items_section(surface, content),
        self_training.self_training_section(surface, content),
        preferences.rewards_section(content),
        preferences.policies_section(content),
        calibration.calibration_section(surface, content),
        recipe_search.recipe_search_section(content),
        appendix.paper_section(content),
        appendix.mix_section(content),
        appendix.cells_section(plan, surface),
        appendix.missing_section(plan, surface),
        appendix.provenance_section(content),
    ]
    return [section for section in sections if section is not None]
