"""A plan's missing cells to finished records: packing, execution, progress, run state.

`executor` (run_cells), `blocks`, `outcomes`, `progress`, `pace`, `preflight`, `run_state`,
`status_line`.
"""
