"""The commands, one module each; `cli` holds what they share, `formatting` how numbers print.

Study: `sweep`, `plan`, `measure`, `tune`, `status`, `report`, `items`, `export`, `archive`. What
it needs: `spaces`, `models`, `data`, `verify`, `doctor`, `cluster`. `scarce` runs each. Folders
import downwards only: `tracking`, `reporting`, `running` and `tuning`, `planning`, `analysis` and
`cluster_lint`, `cost`, `artifacts` and `statistics`.
"""
