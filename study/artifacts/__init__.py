"""plan.json and items.parquet as typed values: what every later stage reads.

`plan` (Plan), `points` (Point), `items`, `costs`, `condition_kinds`, `policies`.
"""
