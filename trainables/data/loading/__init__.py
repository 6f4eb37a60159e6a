"""How any data set becomes a task: local files, the Hub, downloads, field checks.

`task_spec` (TaskSpec), `files`, `hub`, `fetch`, `preference_pairs`.
"""
