"""The commands, one module each; `cli` holds what they share, `formatting` how numbers print.

`sweep`, `plan`, `status`, `report`, `data`, `measure`, `tune`, `doctor`, `cluster`. Folders import
downwards only: `tracking`, `reporting`, `running` and `tuning`, `planning`, `analysis` and
`cluster_lint`, `cost`, `artifacts` and `statistics`.
"""
