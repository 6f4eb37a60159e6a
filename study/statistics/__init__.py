"""Pure functions of per-item scores: SGR, Fieller sets, contrasts, calibration.

`sgr` (estimate_sgr), `arms`, `differences`, `fieller`, `recovery`, `calibration`, `agreement`,
`legacy_bootstrap` (the interval of Hase et al. 2024).
"""
