"""Turns a space into a plan of distinct cells and points, and reports every input error.

`planner` (make_plan), `axes`, `conditions`, `arms`, `cells` (the factory), `units`, `axis_checks`,
`model_checks`, `hardness_cells`.
"""
