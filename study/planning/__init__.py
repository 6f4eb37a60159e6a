"""Space to plan: every distinct cell and point; all input errors are found here.

`planner` (make_plan), `arms`, `axes`, `conditions`, `levels`, `units`, `pool_checks`,
`footprint_checks`.
"""
