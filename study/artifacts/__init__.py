"""plan.json and items.parquet as typed values, which all later stages read.

`study_folder` (open_run), `plan` (Plan), `points` (Point), `items`, `costs`, `condition_kinds`,
`policies`.
"""
