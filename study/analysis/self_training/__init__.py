"""Pseudo-labels compared with gold: audit, calibration tables, collapse detectors.

`audit`, `rounds`, `tables`, `detectors`.
"""
