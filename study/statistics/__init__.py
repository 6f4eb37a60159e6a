"""Pure functions of per-item scores: SGR, Fieller sets, contrasts, calibration.

`sgr` (estimate_sgr), `means` (SGR of a table of means), `sgr_difference`, `arms`, `differences`,
`fieller`, `inversion`, `recovery`, `calibration`, `agreement`.
"""
