"""Charts of the page: Vega-Lite specs built from typed frames.

`chart`, `curves`, `intervals`, `scatter`, `tiles`, `vega`.
"""
