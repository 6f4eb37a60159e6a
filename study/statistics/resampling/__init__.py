"""Bootstraps: over items and seeds, and the one of a paper, to compare tables.

`bootstrap`, `calibration_intervals`, `legacy_bootstrap`.
"""
