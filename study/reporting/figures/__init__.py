"""Matplotlib figures of a report.

`drawing` (shared style), `audit`, `gains`, `losses`, `sensitivity`, `thresholds`.
"""
