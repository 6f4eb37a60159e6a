"""plan.json and items.parquet as typed values, which all later stages read.

`plan` (Plan), `points` (Point), `items`, `costs`, `condition_kinds`, `policies`.
"""
