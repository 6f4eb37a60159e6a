"""Charts of the page: Vega-Lite specs built from typed frames.

`chart`, `curves`, `filters`, `intervals`, `scatter`, `tiles`, `vega`.
"""
