"""Records to numbers: score matrices, the SGR surface, curves, contrasts.

`surface` (compute_surface, load_surface), `scores`, `accuracy_curves`, `contrasts`, `trends`,
`calibration`.
"""
