"""A plan's missing cells to finished records: packing, execution, progress, run state.

`executor` (run_cells), `blocks`, `outcomes`, `progress`, `preflight`, `run_state`.
"""
