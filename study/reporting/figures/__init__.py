"""Matplotlib figures for papers.

`drawing` (shared parts), `audit`, `gains`, `losses`, `sensitivity`, `thresholds`.
"""
